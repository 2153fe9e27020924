package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

const (
	tailLines = 6        // of a log, to say why an agent died
	tailBytes = 64 << 10 // of a log, to find them in: more than a panic with all its goroutines
)

// lastWords are the last lines of an agent's log for a person, or of a panic its first ones.
func lastWords(path string) []string {
	log, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer log.Close()
	if size, err := log.Seek(0, io.SeekEnd); err == nil {
		_, _ = log.Seek(max(0, size-tailBytes), io.SeekStart) // a failure leaves the end, and no lines
	}
	text, err := io.ReadAll(io.LimitReader(log, tailBytes))
	if err != nil {
		return []string{err.Error()}
	}
	if len(text) == 0 {
		return []string{"(nothing)"}
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	from := max(0, len(lines)-tailLines)
	if panicked := slices.IndexFunc(lines, startsPanic); panicked >= 0 {
		from = panicked
	}
	lines = lines[from:min(from+tailLines, len(lines))]
	for i, line := range lines {
		lines[i] = readable(line)
	}
	return lines
}

func startsPanic(line string) bool {
	return strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.HasPrefix(line, "runtime:")
}

// readable is a line of a JSON log as "level message key=value …"; any other line stays as it is.
func readable(line string) string {
	var fields map[string]any
	if json.Unmarshal([]byte(line), &fields) != nil || fields == nil { // null is JSON, too
		return line
	}
	words := []string{fmt.Sprint(fields["level"]), fmt.Sprint(fields["message"])}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "level", "message", "time", "event":
		default:
			words = append(words, fmt.Sprintf("%s=%v", key, fields[key]))
		}
	}
	return strings.Join(words, " ")
}
