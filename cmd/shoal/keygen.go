package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"shoal/gossip"
)

// newKeygenCmd is shoal keygen.
func newKeygenCmd(o *options) *cobra.Command {
	var change string
	var rotate bool
	cmd := &cobra.Command{
		Use: "keygen [FILE]", Short: "Make the key that all members of a cluster share, or change it",
		Long: "Make the key that all members of a cluster share, in FILE (shoal.key when none is given). The file is readable by\n" +
			"its owner only; an existing one is left alone. Copy it to every node, and name it there as gossip.key_file.\n\n" +
			"To change the key of a cluster, do three things to the file, and after each copy it to every node and wait some\n" +
			"seconds; agents that run read it again by themselves, and nobody is lost on the way:\n\n" +
			"  shoal keygen --change add FILE       a new key, behind the one in use: all take it\n" +
			"  shoal keygen --change promote FILE   the new key to the front: all send with it\n" +
			"  shoal keygen --change drop FILE      all keys but the first go: who has only those is out\n\n" +
			"--rotate does the first two at once, for a cluster that stands still or gets the file within seconds: until all\n" +
			fmt.Sprintf("have it, those without are not heard. A file holds at most %d keys; the oldest goes.", gossip.MaxKeys),
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "shoal.key"
			if len(args) == 1 {
				file = args[0]
			}
			if rotate {
				change = "rotate"
			}
			if change != "" {
				return changeKeys(cmd, o, file, change)
			}
			return makeKey(cmd, o, file)
		},
	}
	cmd.Flags().StringVar(&change, "change", "", "change the keys of FILE by this `step`: add, promote, drop or rotate")
	cmd.Flags().BoolVar(&rotate, "rotate", false, "the same as --change rotate")
	cmd.MarkFlagsMutuallyExclusive("change", "rotate")
	return cmd
}

// makeKey writes a new key to file.
func makeKey(cmd *cobra.Command, o *options, file string) error {
	key, err := gossip.NewKey()
	if err != nil {
		return err
	}
	if err := gossip.WriteKey(file, key); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.json {
		return printJSON(out, map[string]string{"key_file": file})
	}
	_, err = fmt.Fprintf(out, "wrote %s: copy it to every node, and run there\n  shoal run --set gossip.key_file=%s\n", file, file)
	return err
}

// keysChanged is what a changed key file holds, in fingerprints.
type keysChanged struct {
	KeyFile string   `json:"key_file"`
	Sends   string   `json:"sends"`
	Takes   []string `json:"takes"`
}

// changeKeys does one step of a rotation to the keys of file.
func changeKeys(cmd *cobra.Command, o *options, file, step string) error {
	keys, err := gossip.ReadKeys(file)
	if err != nil {
		return err
	}
	changed, err := changedKeys(keys, step)
	if err != nil {
		return fmt.Errorf("change %s: %w", file, err)
	}
	if err := gossip.ReplaceKeys(file, changed); err != nil {
		return err
	}
	says := keysChanged{KeyFile: file, Sends: changed[0].Print()}
	for _, k := range changed {
		says.Takes = append(says.Takes, k.Print())
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), says)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "changed %s: sends with key %s, takes %s; copy it to every node\n", file, says.Sends, strings.Join(says.Takes, ", "))
	return err
}

// changedKeys is keys after one step of a rotation.
func changedKeys(keys gossip.Keys, step string) (gossip.Keys, error) {
	alone := errors.New("it holds one key only; begin with --change add")
	switch step {
	case "add", "rotate":
		key, err := gossip.NewKey()
		if err != nil {
			return nil, err
		}
		if step == "add" {
			return keys.Add(key), nil
		}
		return keys.Rotate(key), nil
	case "promote":
		if len(keys) == 1 {
			return nil, alone
		}
		return keys.Promote(), nil
	case "drop":
		if len(keys) == 1 {
			return nil, alone
		}
		return slices.Clone(keys[:1]), nil
	}
	return nil, fail(exitUsage, fmt.Errorf("step %q is unknown; give add, promote, drop or rotate", step))
}
