package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"shoal/gossip"
)

// newKeygenCmd is shoal keygen.
func newKeygenCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "keygen [FILE]", Short: "Make the key that all members of a cluster share",
		Long: "Make the key that all members of a cluster share, in FILE (shoal.key when none is given). The file is readable by\n" +
			"its owner only; an existing one is left alone. Copy it to every node, and name it there as gossip.key_file.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "shoal.key"
			if len(args) == 1 {
				file = args[0]
			}
			return makeKey(cmd, o, file)
		},
	}
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
