package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"shoal/configs"
)

// options are the flags that every command takes.
type options struct {
	config    string   // path of the YAML file; empty: none
	preset    string   // name of the preset to start from; empty: the file's, or none
	set       []string // path=value
	logLevel  string   // empty: the configuration's
	logFormat string   // empty: the configuration's
	json      bool     // print the result as one JSON value
}

// newRoot is the whole command line. Results go to stdout; progress, logs and errors to stderr.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "shoal",
		Short: "Train a neural network on a cluster of small machines that has no master",
		Long: "Shoal trains a neural network on a cluster of small machines that have no master.\n\n" +
			"Values come from flags, else from SHOAL_… environment variables, else from the file of --config or $SHOAL_CONFIG,\n" +
			"else from the preset, else from the defaults; shoal config show says which.\n\n" + exitCodesHelp,
		Version:       thisBuild(version).String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(stdout)
	root.SetErr(stderr)
	flags := root.PersistentFlags()
	flags.StringVarP(&o.config, "config", "c", "", "YAML `file` with the configuration")
	flags.StringVar(&o.preset, "preset", "", "`name` of the preset to start from; shoal config presets lists them")
	flags.StringArrayVar(&o.set, "set", nil, "`path=value` of one value, such as learner.sgd.rate=0.1; repeatable")
	flags.StringVar(&o.logLevel, "log-level", "", "log this `level` and above: debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "", "log in this `format`: console, json, or auto for console on a terminal")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	addCommands(root, o)
	return root
}

// addCommands puts every subcommand below root, each from its own file.
func addCommands(root *cobra.Command, o *options) {
	root.AddCommand(newStatusCmd(o), newMembersCmd(o), newTopCmd(o), newExplainCmd(o), newDoctorCmd(o))
	root.AddCommand(newSteerCmds(o)...)
	root.AddCommand(newRunCmd(o), newClusterCmd(o), newConfigCmd(o), newDataCmd(o), newBenchCmd(o), newLabCmd(o), newPredictCmd(o), newExportCmd(o), newKeygenCmd(o), newInviteCmd(o), newJoinCmd(o), newVersionCmd(o))
}

// execute runs the command line. Errors from before a command starts are errors of usage, unless they have a code.
func execute(ctx context.Context, root *cobra.Command) error {
	started := false
	// Commands must not have a PersistentPreRun of their own: cobra would call that instead of this one.
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || started {
		return err
	}
	var coded exitError
	if errors.As(err, &coded) {
		return err
	}
	return fail(exitUsage, fmt.Errorf("%w\nSee %s --help", err, cmd.CommandPath()))
}

// load reads and checks the configuration that file, environment and flags describe. Own are the values of the command's
// own flags by path, such as rounds.count; --set overrides them.
func (o *options) load(own map[string]string) (configs.Config, configs.Origins, error) {
	c, origins, err := o.read(own)
	if err != nil {
		return c, origins, err
	}
	return c, origins, badConfig(c.Validate(origins))
}

// read is load without the check.
func (o *options) read(own map[string]string) (configs.Config, configs.Origins, error) {
	flags, err := o.flags(own)
	if err != nil {
		return configs.Config{}, nil, fail(exitUsage, err)
	}
	path := o.config
	if path == "" {
		path = os.Getenv("SHOAL_CONFIG")
	}
	c, origins, err := configs.Load(path, os.Environ(), flags)
	return c, origins, badConfig(err)
}

// flags is what the flags say, path → value.
func (o *options) flags(own map[string]string) (map[string]string, error) {
	flags := maps.Clone(own)
	if flags == nil {
		flags = map[string]string{}
	}
	for path, value := range map[string]string{"preset": o.preset, "log.level": o.logLevel, "log.format": o.logFormat} {
		if value != "" {
			flags[path] = value
		}
	}
	for _, s := range o.set {
		path, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("read --set %q: no =; give path=value, such as learner.sgd.rate=0.1", s)
		}
		flags[path] = value
	}
	return flags, nil
}

// badConfig puts the exit code to what is wrong with a configuration; every problem begins its own line, as editors and
// terminals that jump to FILE:LINE:COLUMN want it.
func badConfig(err error) error {
	if err == nil {
		return nil
	}
	return fail(exitConfig, fmt.Errorf("bad configuration\n%w", err))
}

// printJSON writes v as one indented JSON value.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// group makes a command that only holds others: alone it prints its help.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(below...)
	return cmd
}
