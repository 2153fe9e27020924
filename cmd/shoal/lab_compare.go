package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"shoal/eval/lab/compare"
)

// newLabCompareCmd is shoal lab compare.
func newLabCompareCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "compare A B",
		Short: "Compare the results of two experiments",
		Long: "Compare two directories of results, or files of rows: runs with the same axes are matched, and of their final values\n" +
			"it is said by how much B differs from A, and whether repetitions differ as much by themselves. Beyond the spread\n" +
			"means that no value of one side lies within the range of the other; it takes two repetitions on both.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, _, err := openRows(args[0])
			if err != nil {
				return err
			}
			b, _, err := openRows(args[1])
			if err != nil {
				return err
			}
			c := compare.Rows(a, b)
			if o.json {
				return printJSON(cmd.OutOrStdout(), c)
			}
			return printComparison(cmd.OutOrStdout(), c)
		},
	}
}

// printComparison writes a table for each configuration that both have.
func printComparison(w io.Writer, c compare.Comparison) error {
	var text strings.Builder
	for _, p := range c.Pairs {
		t := &table{right: []int{1, 2, 3}}
		t.add(p.Name, "A", "B", "B − A", "")
		for _, d := range p.Differences {
			t.add("  "+d.Value, labSide(d.A, d.Unit), labSide(d.B, d.Unit), labValue(float64(d.Difference), d.Unit, "%+"), string(d.Verdict))
		}
		text.WriteString(strings.Join(t.lines(), "\n") + "\n\n")
	}
	for _, only := range []struct {
		name   string
		groups []string
	}{{"A", c.OnlyA}, {"B", c.OnlyB}} {
		if len(only.groups) > 0 {
			fmt.Fprintf(&text, "only in %s: %s\n", only.name, strings.Join(only.groups, "; "))
		}
	}
	beyond, of := c.Beyond()
	fmt.Fprintf(&text, "%d of %d differences are beyond the spread of repetitions\n", beyond, of)
	_, err := io.WriteString(w, text.String())
	return err
}

// labSide is a mean with its range.
func labSide(s compare.Side, unit string) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return labValue(float64(s.Mean), unit, "%")
	}
	return fmt.Sprintf("%s (%s to %s, n = %d)", labValue(float64(s.Mean), unit, "%"), labValue(float64(s.Min), unit, "%"), labValue(float64(s.Max), unit, "%"), s.N)
}

// labValue is a number in its unit; a share is a percentage. The verb begins with "%" or "%+".
func labValue(v float64, unit, verb string) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case unit == "share":
		return fmt.Sprintf(verb+".2f %%", 100*v)
	case unit == "seconds":
		return fmt.Sprintf(verb+".1f s", v)
	}
	return fmt.Sprintf(verb+".4f", v)
}
