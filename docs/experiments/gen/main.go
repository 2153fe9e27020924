// Command gen writes the pages of docs/experiments from rows that the lab computed, so that no number in them is typed.
//
//	go run ./docs/experiments/gen                          writes the pages of all rows that are kept
//	go run ./docs/experiments/gen -record churn outer      runs these experiments first, and keeps their rows
//	go run ./docs/experiments/gen -keep lab/churn          keeps the rows of results that are there already
//
// What is kept of an experiment is docs/experiments/rows/NAME.jsonl: lines of the lab's own file, of which rounds that say
// little are left out. A page is made of rows, whoever computed them: an experiment that was edited keeps its name, and the
// page shows what was run. Without its rows a page is not written, and no other links to it.
//
// -record works in lab/NAME, as shoal lab does: interrupted, the same command goes on where it was.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "docs/experiments", "`directory` of the pages; the rows are in its rows")
	flag.StringVar(&o.lab, "out", "lab", "`directory` of the lab's results, for -record")
	flag.BoolVar(&o.record, "record", false, "run the named experiments, or files of experiments, and keep their rows")
	flag.BoolVar(&o.keep, "keep", false, "keep the rows of the named directories of results")
	flag.Parse()
	o.names = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	dir, lab     string
	record, keep bool
	names        []string
}

// run gets the rows that are asked for, and writes the pages.
func run(ctx context.Context, o options) error {
	switch {
	case o.record && o.keep:
		return fmt.Errorf("-record and -keep: give one of them; -record runs experiments, -keep takes results that are there")
	case (o.record || o.keep) && len(o.names) == 0:
		return fmt.Errorf("nothing to record or keep; name experiments, as shoal lab list tells them, or directories of results")
	case !o.record && !o.keep && len(o.names) > 0:
		return fmt.Errorf("%q: give -record to run it, or -keep to take its results", o.names[0])
	}
	for _, name := range o.names {
		from := name
		if o.record {
			var err error
			if from, err = compute(ctx, name, o.lab); err != nil {
				return err
			}
		}
		if err := keep(from, o.dir); err != nil {
			return err
		}
	}
	return write(o.dir)
}
