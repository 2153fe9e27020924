package eval

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"shoal/gossip/roster"
)

// Journal is the record of a run as one agent knows it: a file of lines, appended to and never rewritten. In memory are
// the scores, and of commits, each of which names every member, where their lines are. A line is on the disk before the
// call that appends it returns. A Journal is safe for concurrent use; two of them on one file are not.
type Journal struct {
	mu      sync.Mutex
	file    *os.File
	relaxed bool
	size    int64 // of the lines that are whole
	lines   int
	commits []place
	scores  []Score
	commit  map[commitKey]int // place in commits
	last    map[string]int    // place in commits, by lineage, of the commit of the latest round
	writers map[roster.ID]bool
	score   map[scoreKey]bool
	digests map[int]uint64 // by block of rounds
}

// blockRounds is how many rounds journals compare at once: with eight members they take 200 KB.
const blockRounds = 128

// blockOf is the block of a round.
func blockOf(round int) int { return (round - 1) / blockRounds }

// place is where the line of a commit is, without its newline.
type place struct {
	at     int64
	length int
	round  int
}

// commitKey is what there is one commit of, scoreKey one score.
type (
	commitKey struct {
		lineage string
		round   int
	}
	scoreKey struct {
		round           int
		hash, evaluator string
	}
)

// OpenJournal opens the journal at path, or begins it. What a power cut leaves at its end is taken off the file, and dropped
// is its length: a last line that is torn, or all from a line with zeros in it on, since lines that were appended at once
// reach the disk page by page. Any other bad line is an error: the file is not ours to repair.
func OpenJournal(path string) (j *Journal, dropped int64, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open journal: %w", err)
	}
	j = &Journal{file: file, commit: map[commitKey]int{}, last: map[string]int{}, writers: map[roster.ID]bool{}, score: map[scoreKey]bool{}, digests: map[int]uint64{}}
	if dropped, err = j.load(); err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open journal %s: %w", path, err), file.Close())
	}
	return j, dropped, nil
}

// Relax lets lines that are appended from here on wait in the system for the disk: they outlive the process, and not a
// loss of power.
func (j *Journal) Relax() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.relaxed = true
}

// load reads the file and cuts off a torn last line.
func (j *Journal) load() (dropped int64, err error) {
	scanner := bufio.NewScanner(j.file)
	scanner.Buffer(nil, maxLineBytes+1)
	scanner.Split(wholeLines)
	var bad error // of the line before, which is an error unless it was the last
	for scanner.Scan() {
		if bad != nil {
			return 0, bad
		}
		l, err := decodeLine(bytes.TrimSuffix(scanner.Bytes(), []byte{'\n'}))
		if err != nil && bytes.IndexByte(scanner.Bytes(), 0) >= 0 {
			break // Invariant: no text of ours has a zero, and what follows was not synced either.
		}
		if err != nil {
			bad = fmt.Errorf("line %d: %w; move the file away to begin a new one", j.lines+1, err)
			continue
		}
		j.take(l, len(scanner.Bytes()))
	}
	if err := scanner.Err(); err != nil {
		return 0, fmt.Errorf("line %d: %w; move the file away to begin a new one", j.lines+1, err)
	}
	info, err := j.file.Stat()
	if err != nil {
		return 0, err
	}
	if dropped = info.Size() - j.size; dropped > 0 {
		err = errors.Join(j.file.Truncate(j.size), j.file.Sync())
	}
	return dropped, err
}

// wholeLines splits after newlines; what follows the last is no line.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// take adds a line that is on the disk, of so many bytes with its newline, to memory. A later commit of the same round
// takes the place of an earlier: only AppendCommit writes one.
func (j *Journal) take(l line, length int) {
	p := place{at: j.size, length: length - 1}
	j.size += int64(length)
	j.lines++
	if s := l.Score; s != nil {
		if !j.score[s.key()] {
			j.score[s.key()] = true
			j.scores = append(j.scores, *s)
			j.note(s.Round, "score", s.StateHash, string(s.Evaluator))
		}
		return
	}
	key := l.Commit.key()
	p.round = key.round
	j.writers[l.Commit.Agent] = true
	if at, ok := j.commit[key]; ok {
		j.commits[at] = p
		return
	}
	j.note(key.round, "commit", key.lineage)
	at := len(j.commits)
	j.commits, j.commit[key] = append(j.commits, p), at
	if last, ok := j.last[key.lineage]; !ok || j.commits[last].round < p.round {
		j.last[key.lineage] = at
	}
}

// note adds what there is one of to the digest of its block, in whatever order it comes.
func (j *Journal) note(round int, words ...string) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %q", round, words)
	j.digests[blockOf(round)] ^= h.Sum64()
}

func (c Commit) key() commitKey { return commitKey{c.Lineage, c.Round} }

func (s Score) key() scoreKey { return scoreKey{s.Round, s.StateHash, string(s.Evaluator)} }

// AppendCommit records a round that this agent committed. It takes the place of what a peer said of the same round.
func (j *Journal) AppendCommit(c Commit) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.TrainLoss = finite(c.TrainLoss)
	return j.append([]line{{Commit: &c}})
}

// AppendScore records a score, and returns true and does nothing if it is known.
func (j *Journal) AppendScore(s Score) (known bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.score[s.key()] {
		return true, nil
	}
	s.TestLoss = finite(s.TestLoss)
	return false, j.append([]line{{Score: &s}})
}

// Merge records what a peer's journal holds and this one does not: its commits of rounds that are unknown here, and its
// scores. If one of them is bad, none is taken.
func (j *Journal) Merge(commits []Commit, scores []Score) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var fresh []line
	seenCommit, seenScore := map[commitKey]bool{}, map[scoreKey]bool{}
	for _, c := range commits {
		if _, known := j.commit[c.key()]; !known && !seenCommit[c.key()] {
			seenCommit[c.key()] = true
			fresh = append(fresh, line{Commit: &c})
		}
	}
	for _, s := range scores {
		if !j.score[s.key()] && !seenScore[s.key()] {
			seenScore[s.key()] = true
			fresh = append(fresh, line{Score: &s})
		}
	}
	return j.append(fresh)
}

// append writes lines to the disk, all or none, and then takes them.
func (j *Journal) append(lines []line) error {
	if len(lines) == 0 {
		return nil
	}
	if j.lines+len(lines) > maxLines {
		return fmt.Errorf("append to journal: it has %d lines, at most %d are kept", j.lines, maxLines)
	}
	var b bytes.Buffer
	lengths := make([]int, len(lines))
	for i, l := range lines {
		text, err := encodeLine(l)
		if err == nil {
			_, err = decodeLine(text) // Invariant: what is written can be read again.
		}
		if err != nil {
			return fmt.Errorf("append to journal: %w", err)
		}
		lengths[i] = len(text)
		b.Write(text)
	}
	_, err := j.file.Write(b.Bytes())
	if err == nil && !j.relaxed {
		err = j.file.Sync()
	}
	if err != nil {
		// A part may be there, and would spoil the next line.
		return fmt.Errorf("append to journal: %w", errors.Join(err, j.file.Truncate(j.size)))
	}
	for i, l := range lines {
		j.take(l, lengths[i])
	}
	return nil
}

// Commits are the rounds in the order in which they became known, one for each lineage and round.
func (j *Journal) Commits() ([]Commit, error) { return j.commitsWhere(func(int) bool { return true }) }

// Round is what each lineage committed in a round.
func (j *Journal) Round(round int) ([]Commit, error) {
	return j.commitsWhere(func(r int) bool { return r == round })
}

// commitsWhere reads the commits of some rounds.
func (j *Journal) commitsWhere(wanted func(round int) bool) ([]Commit, error) {
	j.mu.Lock()
	var places []place
	for _, p := range j.commits {
		if wanted(p.round) {
			places = append(places, p)
		}
	}
	j.mu.Unlock()
	list := make([]Commit, 0, len(places))
	for _, p := range places {
		c, err := j.read(p)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// read reads a commit's line, which stays where it is.
func (j *Journal) read(p place) (Commit, error) {
	text := make([]byte, p.length)
	_, err := j.file.ReadAt(text, p.at)
	var l line
	if err == nil {
		l, err = decodeLine(text)
	}
	if err == nil && l.Commit == nil {
		err = errors.New("it is no commit any more")
	}
	if err != nil {
		return Commit{}, fmt.Errorf("read the journal's line of round %d at byte %d of %s: %w", p.round, p.at, j.file.Name(), err)
	}
	return *l.Commit, nil
}

// Last is the commit of a lineage's latest round, if there is one.
func (j *Journal) Last(lineage string) (c Commit, ok bool, err error) {
	j.mu.Lock()
	at, ok := j.last[lineage]
	var p place
	if ok {
		p = j.commits[at]
	}
	j.mu.Unlock()
	if !ok {
		return Commit{}, false, nil
	}
	c, err = j.read(p)
	return c, err == nil, err
}

// Span is the first and the last round that is committed, if there is one.
func (j *Journal) Span() (first, last int, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, p := range j.commits {
		if i == 0 {
			first, last = p.round, p.round
		}
		first, last = min(first, p.round), max(last, p.round)
	}
	return first, last, len(j.commits) > 0
}

// Wrote reports whether an agent wrote one of the commits.
func (j *Journal) Wrote(id roster.ID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.writers[id]
}

// Scores are the scores in the order in which they became known, one for each round, state and evaluator.
func (j *Journal) Scores() []Score {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.scores)
}

// Since is what the journal holds of the rounds after round: what a peer that has those up to round lacks.
func (j *Journal) Since(round int) ([]Commit, []Score, error) {
	commits, err := j.commitsWhere(func(r int) bool { return r > round })
	return commits, slices.DeleteFunc(j.Scores(), func(s Score) bool { return s.Round <= round }), err
}

// Digests say of each block of rounds what the journal holds of it: those of two journals are equal where they hold commits
// of the same rounds and lineages, and the same scores.
func (j *Journal) Digests() map[int]uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.digests)
}

// Lacking is what the journal holds in blocks whose digests differ from a peer's: of the rounds from first on, as many
// blocks as begin within so many bytes of lines, the oldest first. next is the first round after them, or 0 if that was all.
func (j *Journal) Lacking(theirs map[int]uint64, first, bytes int) (commits []Commit, scores []Score, next int, err error) {
	j.mu.Lock()
	var blocks []int
	sizes := map[int]int{}
	for block, digest := range j.digests {
		if block >= blockOf(first) && theirs[block] != digest {
			blocks = append(blocks, block)
		}
	}
	for _, p := range j.commits {
		sizes[blockOf(p.round)] += p.length
	}
	j.mu.Unlock()
	slices.Sort(blocks)
	wanted := map[int]bool{}
	for _, block := range blocks {
		if bytes <= 0 {
			next = block*blockRounds + 1
			break
		}
		bytes -= sizes[block]
		wanted[block] = true
	}
	commits, err = j.commitsWhere(func(round int) bool { return wanted[blockOf(round)] })
	scores = slices.DeleteFunc(j.Scores(), func(s Score) bool { return !wanted[blockOf(s.Round)] })
	return commits, scores, next, err
}

// Close closes the file; what was appended is on the disk already.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// syncDir makes the name of a new file in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
