// Command gen records benchmarks and writes docs/performance.md from the records, so that no number in it is typed.
//
//	go run ./docs/performance/gen                             writes the document
//	go run ./docs/performance/gen -record dist/shoal          measures everything again first
//	go run ./docs/performance/gen -record dist/shoal plan-128 only this
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

//go:generate go run . -dir ..

func main() {
	dir := flag.String("dir", "docs/performance", "`directory` of the records; the document is beside it")
	program := flag.String("record", "", "measure with this shoal `binary` before writing, what the arguments name or all")
	patience := flag.Duration("patience", 5*time.Minute, "`time` to wait for each measurement to be undisturbed by other programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *program, *patience, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// run records what is asked for, and writes the document.
func run(ctx context.Context, dir, program string, patience time.Duration, names []string) error {
	if program != "" {
		if err := recordAll(ctx, dir, program, patience, names); err != nil {
			return err
		}
	}
	text, err := document(dir)
	if err != nil {
		return err
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	if err := os.WriteFile(whole+".md", []byte(text), 0o644); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}
