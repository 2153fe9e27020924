package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"shoal/eval/lab"
	"shoal/eval/lab/report"
	"shoal/eval/lab/row"
)

// newLabPlotCmd is shoal lab plot.
func newLabPlotCmd(o *options) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "plot DIR|FILE",
		Short: "Make the report of an experiment's results again",
		Long: "Make report.html, figures and TensorBoard's event files of the results in a directory, or in a file of rows. shoal lab\n" +
			"does so at its end; this does it for results that are still being written, or that came from elsewhere.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, name, err := openRows(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Dir(name)
			}
			page, err := writeReport(out, rows)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"report": page})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), page)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`directory` of the report; default that of the rows")
	return cmd
}

// openRows reads the rows of a directory of results, or of a file, and says which file that is.
func openRows(name string) (row.File, string, error) {
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		name = filepath.Join(name, lab.RowsFile)
		_, err = os.Stat(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return row.File{}, name, fail(exitUsage, fmt.Errorf("%s is not there; give a directory that shoal lab wrote to, or its %s", name, lab.RowsFile))
	}
	if err != nil {
		return row.File{}, name, err
	}
	rows, err := row.Open(name)
	return rows, name, err
}

// writeReport makes the report of rows in dir and returns the page's path.
func writeReport(dir string, rows row.File) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make directory for the report: %w", err)
	}
	if err := report.Write(dir, rows, report.Published(rows)...); err != nil {
		return "", err
	}
	return filepath.Join(dir, report.PageFile), nil
}
