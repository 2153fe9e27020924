package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"shoal/eval/lab/timing"
)

// newLabDeviceCmd is shoal lab device.
func newLabDeviceCmd(o *options) *cobra.Command {
	var agents int
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Measure this machine as the device of an experiment",
		Long: "Measure for a few seconds how fast this machine trains and evaluates the configured model, alone, and print that as\n" +
			"the device of an experiment's time section. The profiles that can be named there instead:\n\n" + deviceProfiles(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := o.load(nil)
			if err != nil {
				return err
			}
			d, err := timing.Measure(cmd.Context(), c.Learner, agents)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), d)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "# %s/%s, %d CPUs, %s: %s at %d×%d, batch %d, %d agents\ntime:\n  device: {profile: %s, images_per_second: %.1f, evaluate: %.1f, cores: %d, share: %.4g}\n",
				runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), c.Learner.Model, c.Learner.Input, c.Learner.Input,
				c.Learner.Batch, agents, d.Profile, d.ImagesPerSecond, d.Evaluate, d.Cores, d.Share)
			return err
		},
	}
	cmd.Flags().IntVar(&agents, "agents", 1, "`number` of agents that share this machine")
	return cmd
}

// deviceProfiles lists the profiles by name.
func deviceProfiles() (text string) {
	for _, p := range timing.Profiles() {
		text += fmt.Sprintf("  %-18s %s\n", p.Name, p.About)
	}
	return text
}
