package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shoal/shards"
)

// download is what data fetch gets and where it puts it.
type download struct{ url, sha256, dir string }

// newDataCmd is shoal data: the images to train on.
func newDataCmd(o *options) *cobra.Command {
	var d download
	fetch := &cobra.Command{
		Use: "fetch cifar10", Short: "Download a data set, going on where an earlier try stopped, and check it",
		Args: oneSet, ValidArgs: []string{"cifar10"},
		RunE: func(cmd *cobra.Command, _ []string) error { return fetchData(cmd, o, d) },
	}
	fetch.Flags().StringVar(&d.url, "url", shards.CIFAR10URL, "download from this `URL`")
	fetch.Flags().StringVar(&d.sha256, "sha256", shards.CIFAR10SHA256, "SHA-256 that the download must have, in `hex`")
	fetch.Flags().StringVar(&d.dir, "dir", "data", "`directory` to put it in")
	info := &cobra.Command{
		Use: "info [SET]", Short: "Read a data set and say what is in it",
		Long: "Read a data set, that of the configuration when none is given, and say what is in it.\n" +
			"SET is builtin, or a directory, .tar.gz or .zip with CIFAR-10 or with a folder of images per class.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return describeData(cmd, o, args) },
	}
	return group("data", "Fetch and look at data sets", fetch, info)
}

// oneSet wants the name of a data set that can be fetched.
func oneSet(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
		return fmt.Errorf("fetch %q: no such data set; run: shoal data fetch cifar10", strings.Join(args, " "))
	}
	return nil
}

// fetched is what data fetch says at its end.
type fetched struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// fetchData downloads into a file named as the URL's last part.
func fetchData(cmd *cobra.Command, o *options, d download) error {
	name := path.Base(d.url)
	if name, _, _ = strings.Cut(name, "?"); name == "" || name == "." || name == "/" {
		return fail(exitUsage, fmt.Errorf("read --url %q: no file name at its end; give the URL of a file", d.url))
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("make directory for the download: %w", err)
	}
	dest := filepath.Join(d.dir, name)
	show := newMeter(cmd.ErrOrStderr(), name, time.Now)
	err := shards.Fetch(cmd.Context(), d.url, d.sha256, dest, show.update)
	show.end()
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, shards.ErrBusy):
		return fail(exitBusy, err)
	case err != nil:
		return fail(exitData, err)
	}
	info, err := os.Stat(dest)
	if err != nil {
		return fmt.Errorf("look at the download: %w", err)
	}
	result := fetched{dest, info.Size(), strings.ToLower(d.sha256)}
	if o.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, SHA-256 as expected; train on it with --set data.set=%s\n", dest, humanBytes(result.Bytes), dest)
	return err
}

// describeData reads a set and prints what is in it.
func describeData(cmd *cobra.Command, o *options, args []string) error {
	own := map[string]string{}
	if len(args) == 1 {
		own["data.set"] = args[0]
	}
	c, _, err := o.load(own)
	if err != nil {
		return err
	}
	set, err := shards.Open(cmd.Context(), c.Data, c.Learner.Input, c.Seed)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fail(exitData, err)
	}
	d := shards.Describe(set)
	if o.json {
		return printJSON(cmd.OutOrStdout(), d)
	}
	return writeDescription(cmd.OutOrStdout(), d)
}

// writeDescription prints a description as aligned lines.
func writeDescription(w io.Writer, d shards.Description) error {
	var b strings.Builder
	fmt.Fprintf(&b, "set       %s\n", d.Name)
	for _, p := range []struct {
		name string
		part shards.Portion
	}{{"train", d.Train}, {"test", d.Test}} {
		fmt.Fprintf(&b, "%-8s  %d images of %d×%d\n", p.name, p.part.Images, p.part.Height, p.part.Width)
	}
	fmt.Fprintf(&b, "mean      %.4f %.4f %.4f\n", d.Mean[0], d.Mean[1], d.Mean[2])
	fmt.Fprintf(&b, "std       %.4f %.4f %.4f\n", d.Std[0], d.Std[1], d.Std[2])
	fmt.Fprintf(&b, "memory    %s\n", humanBytes(d.Bytes))
	fmt.Fprintf(&b, "hash      %s\n\n", d.Hash)
	width := len("class")
	for _, name := range d.Classes {
		width = max(width, len([]rune(name)))
	}
	fmt.Fprintf(&b, "%-*s  %7s  %7s\n", width, "class", "train", "test")
	for i, name := range d.Classes {
		fmt.Fprintf(&b, "%-*s  %7d  %7d\n", width, name, d.Train.PerClass[i], d.Test.PerClass[i])
	}
	_, err := io.WriteString(w, b.String())
	return err
}
