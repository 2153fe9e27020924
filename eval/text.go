package eval

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"shoal/gossip/roster"
)

const (
	maxShownName  = 24 // runes of a name
	maxShownNames = 8  // in a row; of more, only the number is shown
	shortID       = 8  // characters at an ID's end; its beginning is the same for all
	shortHash     = 12 // characters at a hash's beginning
)

// WriteText writes the report for people: plain text, aligned columns, names in place of IDs.
func WriteText(w io.Writer, r Report) error {
	names := namesOf(r.Agents)
	var b strings.Builder
	writeHead(&b, r, names)
	if len(r.Rows) > 0 {
		writeScores(&b, r, names)
		writeTimes(&b, r)
	}
	if len(r.Agents) > 0 {
		writeAgents(&b, r, names)
	}
	writeFiles(&b, r)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func writeHead(b *strings.Builder, r Report, names map[roster.ID]string) {
	fmt.Fprintf(b, "%s, %s, lineage %s\n", plural(r.Rounds, "round"), plural(len(r.Agents), "agent"), hash(r.Lineage))
	fmt.Fprintf(b, "test accuracy %s, test loss %s", percent(r.TestAccuracy), loss(r.TestLoss))
	for i := len(r.Rows) - 1; i >= 0; i-- {
		if row := r.Rows[i]; row.TestAccuracy != nil && !row.Aside {
			fmt.Fprintf(b, " after round %d, scored by %s", row.Round, name(row.Evaluator, names))
			break
		}
	}
	fmt.Fprintf(b, "\n%s images in %s, %.0f images/s\n", thousands(r.Images), span(r.Seconds), r.ImagesPerSecond)
}

func writeScores(b *strings.Builder, r Report, names map[roster.ID]string) {
	t := table{left: []int{5, 6, 7}}
	t.add("round", "test accuracy", "test loss", "train accuracy", "train loss", "evaluator", "contributors", "missing")
	for _, row := range r.Rows {
		var who, missing []string
		for _, c := range row.Contributors {
			who = append(who, name(c.ID, names))
		}
		slices.Sort(who)
		if len(who) > maxShownNames {
			who = []string{plural(len(who), "agent")}
		}
		for _, m := range row.Missing {
			missing = append(missing, fmt.Sprintf("%s (%s)", name(m.ID, names), printable(m.Reason)))
		}
		by := "not scored"
		if row.TestAccuracy != nil {
			by = name(row.Evaluator, names)
		}
		number := fmt.Sprint(row.Round)
		if row.Aside {
			number += " of " + hash(row.Lineage)
		}
		t.add(number, percent(row.TestAccuracy), loss(row.TestLoss), percent(&row.TrainAccuracy), loss(&row.TrainLoss), by,
			orNone(strings.Join(who, " ")), orNone(strings.Join(missing, ", ")))
	}
	b.WriteString("\n")
	t.write(b)
}

func writeTimes(b *strings.Builder, r Report) {
	t := table{left: []int{9}}
	t.add("round", "time", "train", "wait", "average", "evaluate", "images", "sent", "received", "plan")
	line := func(label string, s PhaseSeconds, images, sent, received int64, plan string) {
		t.add(label, span(s.Total()), span(s.Train), span(s.Wait), span(s.Average), span(s.Evaluate), thousands(images),
			size(sent), size(received), plan)
	}
	for _, row := range r.Rows {
		if row.Aside {
			continue
		}
		plan := row.Plan
		if row.Attempts > 1 {
			plan += fmt.Sprintf(", %d attempts", row.Attempts)
		}
		line(fmt.Sprint(row.Round), row.Seconds, row.Images, row.Sent, row.Received, plan)
	}
	line("all", r.Phases, r.Images, r.Sent, r.Received, "")
	b.WriteString("\n")
	t.write(b)
}

func writeAgents(b *strings.Builder, r Report, names map[roster.ID]string) {
	t := table{left: []int{0, 1, 4}}
	t.add("agent", "ID", "images/s", "peak memory", "model")
	for _, a := range r.Agents {
		t.add(name(a.ID, names), short(a.ID), fmt.Sprintf("%.0f", a.ImagesPerSecond), size(int64(a.PeakRSSMB*(1<<20))), orNone(hash(a.ModelHash)))
	}
	b.WriteString("\n")
	t.write(b)
	switch {
	case r.ModelsEqual && len(r.Agents) > 1:
		fmt.Fprintf(b, "all %d agents hold the same model, bit for bit\n", len(r.Agents))
	case !r.ModelsEqual:
		b.WriteString("THE MODELS DIFFER: not every agent holds the same bits\n")
	}
}

func writeFiles(b *strings.Builder, r Report) {
	files := r.Files
	if r.Model != "" {
		files = append([]File{{"model", r.Model}}, files...)
	}
	if len(files) == 0 {
		return
	}
	t := table{left: []int{0, 1}}
	for _, f := range files {
		t.add(f.What, f.Path)
	}
	b.WriteString("\n")
	t.write(b)
}

// namesOf maps IDs to the names shown: the human one, with the ID's end where two agents have the same.
func namesOf(agents []AgentSummary) map[roster.ID]string {
	count := map[string]int{}
	for _, a := range agents {
		count[clip(a.Name)]++
	}
	names := map[roster.ID]string{}
	for _, a := range agents {
		switch n := clip(a.Name); {
		case n == "":
		case count[n] > 1:
			names[a.ID] = n + "-" + short(a.ID)
		default:
			names[a.ID] = n
		}
	}
	return names
}

func name(id roster.ID, names map[roster.ID]string) string {
	if n, ok := names[id]; ok {
		return n
	}
	return short(id)
}

// short is the end of an ID.
func short(id roster.ID) string {
	r := []rune(printable(string(id)))
	return string(r[max(0, len(r)-shortID):])
}

// clip is a human name as it is shown.
func clip(s string) string {
	r := []rune(printable(s))
	return string(r[:min(len(r), maxShownName)])
}

// hash is a hash or lineage as far as people compare it.
func hash(s string) string {
	r := []rune(printable(s))
	return string(r[:min(len(r), shortHash)])
}
