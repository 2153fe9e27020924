package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"shoal/configs"
	"shoal/gossip"
)

const (
	// maxTokenFileBytes bounds what is read in search of a token.
	maxTokenFileBytes = 32 << 10
	// joinedFile and joinedKeyFile are what a join writes to the state directory.
	joinedFile    = "join.yaml"
	joinedKeyFile = "cluster.key"
)

// newJoinCmd is shoal join.
func newJoinCmd(o *options) *cobra.Command {
	var file, state string
	cmd := &cobra.Command{
		Use: "join [TOKEN | -]", Short: "Make this node a member by a token of shoal invite, and run its agent",
		Long: "Make this node a member by a token that shoal invite printed on another node: the cluster's keys and the run's\n" +
			"configuration are written to the state directory, then the agent runs as by shoal run. Flags of shoal run hold\n" +
			"here, too: --set data.set=DIR where the images are elsewhere on this node, for example.\n\n" +
			"Once it is a member, start it again without the token: shoal run --config STATE/" + joinedFile + "\n\n" +
			"A token on the command line can be seen by others on this machine until the agent has begun. To keep it from\n" +
			"them, and out of the shell's history, give - and the token on standard input, or --token-file.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.config != "" {
				return fail(exitUsage, errors.New("--config beside a token: the token brings the configuration; change single values with --set"))
			}
			text, err := tokenText(cmd.InOrStdin(), args, file)
			if err != nil {
				return fail(exitUsage, err)
			}
			token, err := gossip.DecodeToken(text, time.Now())
			if err != nil {
				return fail(exitRefused, err)
			}
			flags, err := o.flags(nil)
			if err != nil {
				return fail(exitUsage, err)
			}
			state = cmp.Or(state, flags["state"], os.Getenv("SHOAL_STATE"), configs.Defaults().State)
			if o.config, err = settle(state, token); err != nil {
				return err
			}
			if len(args) == 1 && args[0] != "-" {
				return again(o)
			}
			return runAgent(cmd, o)
		},
	}
	cmd.Flags().StringVar(&file, "token-file", "", "`file` with the token")
	cmd.Flags().StringVar(&state, "state", "", "state `directory` of the agent")
	return cmd
}

// tokenText is the token from the one place where it is given.
func tokenText(stdin io.Reader, args []string, file string) (string, error) {
	var from io.Reader
	switch {
	case len(args) == 1 && file != "":
		return "", errors.New("a token and --token-file: give one of them")
	case len(args) == 1 && args[0] != "-":
		return args[0], nil
	case len(args) == 1:
		from = stdin
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		defer f.Close()
		from = f
	default:
		return "", errors.New("no token: give the one that shoal invite prints on a member's node, - to read it from standard input, or --token-file")
	}
	text, err := io.ReadAll(io.LimitReader(from, maxTokenFileBytes))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return string(text), nil
}

// settle writes what a token brings to the state directory, and returns the path of the configuration. Keys that are
// there already must be of the same cluster.
func settle(state string, token gossip.Token) (string, error) {
	dir, err := filepath.Abs(state)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make state directory: %w; give a writable one with --state DIR", err)
	}
	keyFile := filepath.Join(dir, joinedKeyFile)
	if _, err := os.Stat(keyFile); err == nil {
		old, err := gossip.ReadKeys(keyFile)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(old, func(k gossip.Key) bool { return slices.Contains(token.Keys, k) }) {
			return "", fail(exitRefused, fmt.Errorf("join with state directory %s: it has the keys of another cluster; give another with --state DIR, or move this one away", dir))
		}
	}
	if err := gossip.ReplaceKeys(keyFile, token.Keys); err != nil {
		return "", err
	}
	path := filepath.Join(dir, joinedFile)
	if err := renameio.WriteFile(path, []byte(joined(dir, keyFile, token)), 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	_, _, err = configs.Load(path, nil, nil)
	return path, badConfig(err)
}

// joined is the configuration of a new member. Quotes of Go and of YAML are the same for what prints.
func joined(dir, keyFile string, token gossip.Token) string {
	quoted := make([]string, len(token.Seeds))
	for i, seed := range token.Seeds {
		quoted[i] = strconv.Quote(seed)
	}
	return fmt.Sprintf("# Written by shoal join, anew by each.\nstate: %q\n%sgossip:\n  seeds: [%s]\n  key_file: %q\n",
		dir, token.Settings, strings.Join(quoted, ", "), keyFile)
}

// again makes this process shoal run, whose arguments have no token in them. The process stays the same to whoever
// started it.
func again(o *options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := syscall.Exec(self, runArgs(os.Args[0], o), os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w; run it yourself: shoal run --config %s", self, err, o.config)
	}
	return nil // not reached: Exec returns with an error only
}

// runArgs is the command line of shoal run with the flags of o.
func runArgs(name string, o *options) []string {
	args := []string{name, "run", "--config", o.config}
	for flag, value := range map[string]string{"--preset": o.preset, "--log-level": o.logLevel, "--log-format": o.logFormat} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	for _, s := range o.set {
		args = append(args, "--set", s)
	}
	return args
}
