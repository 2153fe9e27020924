package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"shoal/agent"
	"shoal/configs"
	"shoal/learner/kernel"
)

// newRunCmd is shoal run: one agent in the foreground.
func newRunCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run one agent: join the cluster, train the rounds, leave",
		Long: "Run one agent in the foreground, until the last round is scored or it is told to stop.\n\n" +
			"The first SIGINT or SIGTERM makes it finish an exchange at work, keep unfinished work, and say goodbye; the second\n" +
			"ends it at once. Started again with the same state directory it goes on where it was. An agent that left in good\n" +
			"order exits with 0, stopped by a signal or not.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, o) },
	}
}

// runAgent is shoal run.
func runAgent(cmd *cobra.Command, o *options) error {
	cfg, _, err := o.load(nil)
	if err != nil {
		return err
	}
	if err := chooseKernels(os.Getenv(kernelVariable)); err != nil {
		return err
	}
	log := newLogger(cfg.Log, os.Stderr)
	warnOfKey(log, cfg.Gossip.KeyFile)
	return agentError(agent.Run(cmd.Context(), cfg, thisBuild(version).Version, log))
}

// warnOfKey warns of a cluster key that others on this machine can read: with it they can join. It stays a warning, as
// keys that are mounted from a stick or by a container's runtime have no mode of their own.
func warnOfKey(log zerolog.Logger, file string) {
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return // the agent tells of one that is missing
	}
	log.Warn().Str("event", "key_exposed").Str("file", file).Str("mode", fmt.Sprintf("%04o", info.Mode().Perm())).
		Msg("others on this machine can read the cluster key, and join with it; run: chmod 600 " + file)
}

// kernelVariable names the kernels to use: generic, avx2, avx512 or neon; empty: the best that this CPU has.
const kernelVariable = "SHOAL_CPU"

// chooseKernels sets the kernels of this process.
func chooseKernels(name string) error {
	if err := kernel.Choose(name); err != nil {
		return fail(exitUsage, fmt.Errorf("choose kernels by %s: %w", kernelVariable, err))
	}
	return nil
}

// agentError puts the exit code to what ended an agent.
func agentError(err error) error {
	switch {
	case errors.Is(err, agent.ErrBusy):
		return fail(exitBusy, err)
	case errors.Is(err, agent.ErrData):
		return fail(exitData, err)
	case errors.Is(err, agent.ErrRefused):
		return fail(exitRefused, err)
	}
	return err
}

// newLogger logs to w: for people on a terminal, as JSON lines elsewhere, unless the configuration says which.
func newLogger(cfg configs.Log, w *os.File) zerolog.Logger {
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	var out io.Writer = w
	if cfg.Format == "console" || cfg.Format == "auto" && term.IsTerminal(int(w.Fd())) {
		_, plain := os.LookupEnv("NO_COLOR")
		out = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: plain || !term.IsTerminal(int(w.Fd()))}
	}
	return zerolog.New(out).Level(level).Hook(clock{})
}

// clock puts the time to every line, with milliseconds.
type clock struct{}

// Run is called by zerolog for each line.
func (clock) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}
