// Command gen records benchmarks and writes docs/performance.md from the records, so that no number in it is typed.
//
//	go run ./docs/performance/gen                             writes the document
//	go run ./docs/performance/gen -record dist/shoal          measures everything again first
//	go run ./docs/performance/gen -record dist/shoal plan-128 only this
//	go run ./docs/performance/gen -record dist/shoal -cifar DIR learns ten epochs of the CIFAR-10 there, against PyTorch
//	go run ./docs/performance/gen -count dist/shoal-symbols   counts the instructions of a training step again, under QEMU
//
// The last wants a program for linux/arm64 with its symbols: GOOS=linux GOARCH=arm64 go build -o dist/shoal-symbols ./cmd/shoal.
package main

import (
	"context"
	"errors"
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
	emulated := flag.String("count", "", "count instructions of this shoal `binary` for linux/arm64, with symbols, before writing")
	cifar := flag.String("cifar", "", "measure only what ten epochs of the CIFAR-10 in this `directory` teach")
	patience := flag.Duration("patience", 5*time.Minute, "`time` to wait for each measurement to be undisturbed by other programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *program, *emulated, *cifar, *patience, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// run records what is asked for, and writes the document.
func run(ctx context.Context, dir, program, emulated, cifar string, patience time.Duration, names []string) error {
	if program != "" && emulated != "" {
		return errors.New("read flags: -record and -count are for two programs; ask for one at a time")
	}
	if cifar != "" && program == "" {
		return errors.New("read flags: -cifar needs -record with the program that learns")
	}
	if cifar != "" {
		if err := learn(ctx, dir, program, cifar); err != nil {
			return err
		}
	} else if program != "" {
		if err := recordAll(ctx, dir, program, patience, names); err != nil {
			return err
		}
	}
	if emulated != "" {
		if err := countAll(ctx, dir, emulated, names); err != nil {
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
