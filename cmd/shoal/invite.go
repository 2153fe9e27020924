package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"shoal/configs"
	"shoal/gossip"
)

const (
	// inviteFor is how long an invitation holds unless it is said otherwise, and inviteForMax at most.
	inviteFor    = 24 * time.Hour
	inviteForMax = 365 * 24 * time.Hour
	// inviteSeeds is how many addresses an invitation has at most: any one that answers will do.
	inviteSeeds = 4
	// peersFile is where an agent keeps the addresses of members in its state directory.
	peersFile = "peers.json"
)

// newInviteCmd is shoal invite.
func newInviteCmd(o *options) *cobra.Command {
	var seeds []string
	lasts := inviteFor
	cmd := &cobra.Command{
		Use: "invite", Short: "Print a token with which a new node joins: shoal join TOKEN",
		Long: "Print a token with which a new node becomes a member by one line, shoal join TOKEN. It holds the cluster's keys,\n" +
			"addresses of members, and the run's settings, so that nothing else needs to be copied. Give invite the flags, file\n" +
			"and environment of a member's shoal run, on that member's node: addresses come from its state directory and\n" +
			"configuration, unless --seed names others.\n\n" +
			"Whoever has the token can join, as with the key itself: treat it like a password. That it expires keeps an old one\n" +
			"from being used by accident; who took the keys out of it has them until they are changed (shoal keygen --help).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := o.load(nil)
			if err != nil {
				return err
			}
			return invite(cmd, o, cfg, seeds, lasts)
		},
	}
	cmd.Flags().StringArrayVar(&seeds, "seed", nil, "`host:port` at which a member is joined; repeatable; instead of those that are known")
	cmd.Flags().DurationVar(&lasts, "for", inviteFor, "how `long` the token holds, such as 2h")
	return cmd
}

// invite prints a token. Only the token goes to stdout.
func invite(cmd *cobra.Command, o *options, cfg configs.Config, seeds []string, lasts time.Duration) error {
	if lasts < time.Second || lasts > inviteForMax {
		return fail(exitUsage, fmt.Errorf("--for %v: give between 1s and %v", lasts, inviteForMax))
	}
	keys, err := gossip.ReadKeys(cfg.Gossip.KeyFile)
	if err != nil {
		return err
	}
	if len(seeds) == 0 {
		if seeds, err = seedsOf(cfg); err != nil {
			return err
		}
	}
	token := gossip.Token{Expires: time.Now().Add(lasts), Seeds: seeds, Keys: keys, Settings: cfg.Run()}
	text, err := token.Encode()
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"token": text, "expires": token.Expires.UTC().Truncate(time.Second), "seeds": seeds})
	}
	if _, err = fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
		return fmt.Errorf("print the token: %w", err)
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "joins at %v, until %s; on the new node run: shoal join TOKEN\n", seeds, token.Expires.Format(time.RFC3339))
	return err
}

// seedsOf is where a new node may join the agent of a configuration and those that it knows.
func seedsOf(cfg configs.Config) ([]string, error) {
	known, err := gossip.Known(cfg.Gossip.Listen, filepath.Join(cfg.State, peersFile))
	if err != nil {
		return nil, err
	}
	var seeds []string
	for _, addr := range slices.Concat(known, cfg.Gossip.Seeds) {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || len(seeds) > 0 && ip != nil && ip.IsLoopback() || slices.Contains(seeds, addr) {
			continue // loopback is good for nothing but a cluster on one machine
		}
		if seeds = append(seeds, addr); len(seeds) == inviteSeeds {
			break
		}
	}
	if len(seeds) == 0 {
		return nil, errors.New("make an invitation: no address is known at which to join; run this beside a running agent, with its flags, or give --seed HOST:PORT")
	}
	return seeds, nil
}
