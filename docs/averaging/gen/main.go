// Command gen measures averaging over links of a given rate and writes docs/averaging.md from the record, so that no number
// in it is typed.
//
//	go run ./docs/averaging/gen                      writes the document
//	go run ./docs/averaging/gen -record dist/shoal   measures everything again first
//
// To measure it needs root, ip and tc for network namespaces, iperf3, and for the other side Open MPI with python3-mpi4py and
// python3-numpy. Namespaces are named shoal-avg-1 and so on, and taken away in the end.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	dir := flag.String("dir", "docs/averaging", "`directory` of the record; the document is beside it")
	program := flag.String("record", "", "measure with this shoal `binary` before writing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// run records if there is a program, and writes the document.
func run(ctx context.Context, dir, program string) error {
	name := filepath.Join(dir, "record.json")
	if program != "" {
		r, err := measure(ctx, dir, program)
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(r, "", " ")
		if err == nil {
			err = os.WriteFile(name, append(text, '\n'), 0o644)
		}
		if err != nil {
			return fmt.Errorf("write record: %w", err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read record: %w; make one with -record", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read record %s: %w", name, err)
	}
	whole, err := filepath.Abs(dir)
	if err == nil {
		err = os.WriteFile(whole+".md", []byte(document(r)), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}
