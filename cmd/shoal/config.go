package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"shoal/configs"
)

// newConfigCmd is shoal config: what an agent would be told.
func newConfigCmd(o *options) *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Print every value and where it came from, as YAML that can be loaded again",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showConfig(cmd, o) },
	}
	validate := &cobra.Command{
		Use: "validate FILE…", Short: "Check configuration files, by themselves: without environment and flags",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error { return validateConfigs(cmd, o, files) },
	}
	presets := &cobra.Command{
		Use: "presets [NAME]", Short: "List the presets, or print one",
		Args: cobra.MaximumNArgs(1), ValidArgs: configs.Presets(),
		RunE: func(cmd *cobra.Command, names []string) error { return showPresets(cmd, o, names) },
	}
	return group("config", "Show and check configurations", show, validate, presets)
}

// showConfig prints the configuration even when it cannot be, because that is when it is wanted; the error follows.
func showConfig(cmd *cobra.Command, o *options) error {
	c, origins, err := o.read(nil)
	if err != nil {
		return err
	}
	invalid := badConfig(c.Validate(origins))
	if o.json {
		return errors.Join(printJSON(cmd.OutOrStdout(), c.Values(origins)), invalid)
	}
	if _, err := fmt.Fprint(cmd.OutOrStdout(), c.YAML(origins)); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return invalid
}

// verdict is what config validate says of one file.
type verdict struct {
	File     string   `json:"file"`
	Valid    bool     `json:"valid"`
	Problems []string `json:"problems"`
}

// validateConfigs checks every file, and fails when one of them is bad.
func validateConfigs(cmd *cobra.Command, o *options, files []string) error {
	verdicts := make([]verdict, len(files))
	var bad []error
	for i, file := range files {
		c, origins, err := configs.Load(file, nil, nil)
		if err == nil {
			err = c.Validate(origins)
		}
		verdicts[i] = verdict{File: file, Valid: err == nil, Problems: []string{}}
		if err != nil {
			verdicts[i].Problems = problemsOf(err)
			bad = append(bad, err)
		} else if !o.json {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", file)
		}
	}
	if o.json {
		bad = append(bad, printJSON(cmd.OutOrStdout(), verdicts))
	}
	return badConfig(errors.Join(bad...))
}

// problemsOf is the text of each error that err joins.
func problemsOf(err error) []string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	var list []string
	for _, e := range joined.Unwrap() {
		list = append(list, problemsOf(e)...)
	}
	return list
}

// presetLine is one row of the list of presets.
type presetLine struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// showPresets prints the list of presets, or the one that is named.
func showPresets(cmd *cobra.Command, o *options, names []string) error {
	out := cmd.OutOrStdout()
	if len(names) == 1 {
		text, err := configs.Preset(names[0])
		if err != nil {
			return fail(exitConfig, err)
		}
		if o.json {
			return printJSON(out, map[string]string{"name": names[0], "yaml": string(text)})
		}
		_, err = out.Write(text)
		return err
	}
	var list []presetLine
	for _, name := range configs.Presets() {
		text, err := configs.Preset(name)
		if err != nil {
			return err
		}
		first, _, _ := bytes.Cut(text, []byte("\n"))
		list = append(list, presetLine{name, strings.TrimPrefix(string(first), "# ")})
	}
	if o.json {
		return printJSON(out, list)
	}
	width := 0
	for _, p := range list {
		width = max(width, len(p.Name))
	}
	for _, p := range list {
		fmt.Fprintf(out, "%-*s  %s\n", width, p.Name, p.About)
	}
	return nil
}
