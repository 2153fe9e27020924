package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"shoal/eval/lab"
	"shoal/eval/lab/papers"
	"shoal/eval/lab/row"
)

// newLabTableCmd is shoal lab table.
func newLabTableCmd(o *options) *cobra.Command {
	var format string
	var batches bool
	cmd := &cobra.Command{
		Use:   "table DIR",
		Short: "Print an experiment's results in the columns of the papers, beside what they published",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := args[0]
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				path = filepath.Join(path, lab.RowsFile)
			}
			f, err := row.Open(path)
			if err != nil {
				return fail(exitData, err)
			}
			tables, err := paperTables(f, batches)
			if err != nil {
				return fail(exitData, fmt.Errorf("read %s: %w", path, err))
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), tables)
			}
			print, known := map[string]func(papers.Table) string{"text": papers.Table.Text, "markdown": papers.Table.Markdown, "csv": papers.Table.CSV}[format]
			if !known {
				return fail(exitUsage, fmt.Errorf("read --format %q: give text, markdown or csv", format))
			}
			for i, t := range tables {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				fmt.Fprint(cmd.OutOrStdout(), print(t))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`form` of the table: text, markdown or csv")
	cmd.Flags().BoolVar(&batches, "batches", false, "the batch sweep instead of strong scaling")
	return cmd
}

// paperTables are a table for each model of the runs.
func paperTables(f row.File, batches bool) (tables []papers.Table, err error) {
	seen := map[string]bool{}
	for _, r := range f.Runs {
		switch {
		case seen[r.Model]:
			continue
		case batches:
			tables = append(tables, papers.BatchTable(f, r.Model))
		default:
			tables = append(tables, papers.ScalingTable(f, r.Model))
		}
		seen[r.Model] = true
	}
	if tables == nil {
		return nil, errors.New("no run has ended yet; let shoal lab finish one")
	}
	return tables, nil
}
