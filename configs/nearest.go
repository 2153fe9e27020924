package configs

import (
	"fmt"
	"strings"
)

// unknown says that no value or section is at path, and what was probably meant.
func unknown(path string) string {
	if meant, ok := suggest(path); ok {
		return fmt.Sprintf("unknown key; did you mean %s?", meant)
	}
	section, _ := cutLast(path)
	for !isSection(section) {
		section, _ = cutLast(section)
	}
	keys := children(section)
	where := "the keys of " + section
	if section == "" {
		keys, where = append([]string{presetKey}, keys...), "the keys at the top"
	}
	return fmt.Sprintf("unknown key; %s are %s", where, strings.Join(keys, ", "))
}

// suggest finds the path that was probably meant: a right key in a wrong place, or a slip of the pen in the whole path.
func suggest(path string) (string, bool) {
	known := []string{presetKey}
	var moved []string
	_, key := cutLast(path)
	for _, f := range fields() {
		known = append(known, f.path)
		for section, _ := cutLast(f.path); section != ""; section, _ = cutLast(section) {
			known = append(known, section)
		}
		if strings.HasSuffix(f.path, "."+key) {
			moved = append(moved, f.path)
		}
	}
	if len(moved) == 1 {
		return moved[0], true
	}
	if meant, ok := nearest(path, known); ok {
		return meant, true
	}
	return strings.Join(moved, " or "), len(moved) > 0 && len(moved) < 4
}

// cutLast splits the last key off a path.
func cutLast(path string) (section, key string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// nearest is the word of list that differs least from word, if it differs little enough to have been meant.
func nearest(word string, list []string) (string, bool) {
	const longest = 64 // a longer word is no slip of any of ours
	if len(word) > longest {
		return "", false
	}
	_, key := cutLast(word)
	limit := min(3, (len(key)+2)/3)
	best, found := "", false
	for _, w := range list {
		if d := distance(strings.ToLower(word), strings.ToLower(w)); d <= limit {
			best, limit, found = w, d-1, true
		}
	}
	return best, found
}

// distance counts the letters to insert, drop, change or swap with their neighbour to make b of a: the optimal string
// alignment distance, in len(a)·len(b) steps.
func distance(a, b string) int {
	row := func() []int { return make([]int, len(b)+1) }
	before, last, cur := row(), row(), row()
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			cur[j] = min(last[j]+1, cur[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, last, cur = last, cur, before
	}
	return last[len(b)]
}
