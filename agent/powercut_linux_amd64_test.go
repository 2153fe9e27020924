package agent

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"shoal/agent/part"
	"shoal/eval"
	"shoal/gossip"
	"shoal/gossip/p2p"
	"shoal/gossip/roster"
)

// journalFile is the journal's name in the state directory.
const journalFile = "journal.jsonl"

// pageBytes is what a disk writes whole or not at all.
const pageBytes = 4096

// disk is a directory on a medium that keeps for sure only what was synced.
type disk struct {
	files  []*diskFile
	names  map[string]int // as the process sees them
	kept   map[string]int // as they were when the directory was synced last
	orders []fileOp       // to the names since then
	relied promise
}

// promise is what the agent has gone on from: a power cut must not take it back.
type promise struct {
	last  uint64 // round of the last record
	lines int    // of the journal
}

// begins notes what an operation rests on. The loop writes what the machine persists and the journal, one after another:
// when it begins with one, it has gone on from what it wrote before.
func (d *disk) begins(o fileOp) {
	stable := o.kind == "create" && strings.HasPrefix(o.name, "."+stableFile)
	if !stable && (o.kind != "write" || o.name != journalFile) {
		return
	}
	if at, ok := d.names[stableFile]; ok {
		d.relied.last = readStable(d.files[at].now).Last.Round
	}
	if at, ok := d.names[journalFile]; ok {
		d.relied.lines = bytes.Count(d.files[at].now, []byte{'\n'})
	}
}

// diskFile is a file's bytes, and the pages of them that are not on the medium for sure.
type diskFile struct {
	now, kept []byte
	dirty     map[int]bool
}

func newDisk() *disk { return &disk{names: map[string]int{}, kept: map[string]int{}} }

// do carries out an operation.
func (d *disk) do(o fileOp) {
	d.begins(o)
	switch o.kind {
	case "create":
		d.files = append(d.files, &diskFile{dirty: map[int]bool{}})
		d.rename(o)
	case "rename", "remove":
		d.rename(o)
	case "syncdir":
		d.kept, d.orders = maps.Clone(d.names), nil
	case "sync":
		f := d.files[o.file]
		f.kept, f.dirty = slices.Clone(f.now), map[int]bool{}
	case "truncate":
		d.files[o.file].write(nil, 0, o.offset)
	case "write":
		f := d.files[o.file]
		f.write(o.data, o.offset, max(int64(len(f.now)), o.offset+int64(len(o.data))))
	}
}

func (d *disk) rename(o fileOp) {
	d.orders = append(d.orders, o)
	apply(d.names, o)
}

// apply changes names as o says.
func apply(names map[string]int, o fileOp) {
	switch o.kind {
	case "create":
		names[o.name] = o.file
	case "rename":
		names[o.to] = names[o.name]
		delete(names, o.name)
	case "remove":
		delete(names, o.name)
	}
}

// write puts data at offset into a file that is size long then.
func (f *diskFile) write(data []byte, offset, size int64) {
	old := len(f.now)
	f.now = append(f.now, make([]byte, max(0, int(size)-old))...)[:size]
	copy(f.now[offset:], data)
	for page := int(offset) / pageBytes; page*pageBytes < int(offset)+len(data); page++ {
		f.dirty[page] = true
	}
}

// cut is what the medium holds after the power went: names and pages that were not synced are there or not, by the dice.
func (d *disk) cut(rng *rand.Rand) map[string][]byte {
	names := maps.Clone(d.kept)
	lost := map[string]bool{} // names that an order which was lost would have changed
	prefix := len(d.orders)
	if rng.IntN(2) == 0 {
		prefix = rng.IntN(len(d.orders) + 1)
	}
	scattered := rng.IntN(2) == 0
	for i, o := range d.orders {
		if i >= prefix || scattered && rng.IntN(4) == 0 || lost[o.name] || lost[o.to] {
			lost[o.name], lost[o.to] = true, o.to != ""
			continue
		}
		apply(names, o)
	}
	left := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		left[name] = d.files[names[name]].cut(rng)
	}
	return left
}

// cut is what is left of a file: as long as it was, as it is, or in between, and of its dirty pages some.
func (f *diskFile) cut(rng *rand.Rand) []byte {
	if len(f.dirty) == 0 && len(f.now) == len(f.kept) {
		return f.kept
	}
	low, high := min(len(f.kept), len(f.now)), max(len(f.kept), len(f.now))
	size := []int{len(f.kept), len(f.now), low + rng.IntN(high-low+1)}[rng.IntN(3)]
	left := make([]byte, size)
	copy(left, f.kept)
	all := rng.IntN(3) == 0
	for _, page := range slices.Sorted(maps.Keys(f.dirty)) {
		if begin := page * pageBytes; begin < min(size, len(f.now)) && (all || rng.IntN(2) == 0) {
			copy(left[begin:], f.now[begin:min(begin+pageBytes, len(f.now))])
		}
	}
	return left
}

// What a disk keeps, in one case that can be followed by hand.
func TestDiskKeepsWhatWasSynced(t *testing.T) {
	ops := []fileOp{
		{kind: "create", name: "a", file: 0}, {kind: "write", name: "a", file: 0, data: []byte("old")},
		{kind: "sync", name: "a", file: 0}, {kind: "syncdir"},
		{kind: "create", name: ".a1", file: 1}, {kind: "write", name: ".a1", file: 1, data: []byte("new!")},
		{kind: "rename", name: ".a1", to: "a"},
	}
	seen := map[string]bool{}
	for seed := range uint64(200) {
		d := newDisk()
		for _, o := range ops {
			d.do(o)
		}
		seen[string(d.cut(rand.New(rand.NewPCG(seed, 0)))["a"])] = true
	}
	for _, want := range []string{"old", "new!", "", "\x00\x00\x00\x00"} { // the rename may be there before the data
		if !seen[want] {
			t.Errorf("never left: %q", want)
		}
	}
	d := newDisk()
	for _, o := range append(slices.Clone(ops), fileOp{kind: "sync", file: 1}, fileOp{kind: "syncdir"}) {
		d.do(o)
	}
	for seed := range uint64(50) {
		if got := d.cut(rand.New(rand.NewPCG(seed, 0))); len(got) != 1 || string(got["a"]) != "new!" {
			t.Fatalf("synced, and yet %q is left", got)
		}
	}
}

// powerCuts is how many positions within writes are cut at, besides ends of operations.
const powerCuts = 1000

// powerRounds is how long the run is that is cut.
const powerRounds = 4

// An agent trains a run while every system call on its state directory is written down. Then the power is cut after each
// operation and at a thousand bytes within (an eighth of that unless SHOAL_CHAOS is set), what was not synced is lost, torn
// or zero, and the state directory is opened by what an agent begins with: it has the old state or the new one, whole, and
// goes on.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	ops := traceFiles(t, soloAgent(t, dir), filepath.Join(dir, "state"))
	if len(ops) < 20*powerRounds {
		t.Fatalf("only %d operations: does the trace see the files? %v", len(ops), ops)
	}
	begin := newReopening(t)
	cuts := cutPlaces(ops, rand.New(rand.NewPCG(1, 0)))
	if _, all := os.LookupEnv("SHOAL_CHAOS"); !all {
		rand.New(rand.NewPCG(2, 0)).Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
		cuts = cuts[:len(cuts)/8]
	}
	slices.SortFunc(cuts, func(a, b place) int { return cmp.Or(cmp.Compare(a.op, b.op), cmp.Compare(a.bytes, b.bytes)) })
	t.Logf("%d operations, %d cuts", len(ops), len(cuts))
	d, done := newDisk(), 0
	for k, c := range cuts {
		for ; done < c.op; done++ {
			d.do(ops[done])
		}
		torn := d
		if c.bytes > 0 {
			torn = d.clone()
			part := ops[c.op]
			part.data = part.data[:c.bytes]
			torn.do(part)
		}
		begin.check(t, torn, rand.New(rand.NewPCG(uint64(k), 1)), fmt.Sprintf("cut %d, %d bytes into operation %d (%s)", k, c.bytes, c.op, ops[min(c.op, len(ops)-1)]))
		if t.Failed() {
			return
		}
	}
}

// place is where the power goes: after op operations, and so many bytes of the next.
type place struct{ op, bytes int }

// cutPlaces are the ends of all operations, of writes one in four, and powerCuts bytes of those written.
func cutPlaces(ops []fileOp, rng *rand.Rand) (all []place) {
	total := 0
	for i, o := range ops {
		if o.kind != "write" || rng.IntN(4) == 0 {
			all = append(all, place{op: i})
		}
		total += len(o.data)
	}
	all = append(all, place{op: len(ops)})
	for range powerCuts {
		at := rng.IntN(total)
		if rng.IntN(2) == 0 { // checkpoints are most of the bytes; the other half goes to operations alike
			o := rng.IntN(len(ops))
			if n := len(ops[o].data); n > 0 {
				all = append(all, place{o, rng.IntN(n)})
				continue
			}
		}
		for i, o := range ops {
			if at < len(o.data) {
				all = append(all, place{i, at})
				break
			}
			at -= len(o.data)
		}
	}
	return all
}

func (d *disk) clone() *disk {
	c := &disk{names: maps.Clone(d.names), kept: maps.Clone(d.kept), orders: slices.Clone(d.orders), relied: d.relied}
	for _, f := range d.files {
		c.files = append(c.files, &diskFile{slices.Clone(f.now), f.kept, maps.Clone(f.dirty)})
	}
	return c
}

// soloAgent is a process that trains powerRounds rounds alone, with its state in dir/state.
func soloAgent(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	key, err := gossip.NewKey()
	if err == nil {
		err = gossip.WriteKey(filepath.Join(dir, "cluster.key"), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	yaml := `name: solo
state: ` + filepath.Join(dir, "state") + `
keep: 1
data: {set: builtin, limit: 40, test_limit: 10}
learner: {width: 0.1, input: 32, batch: 10, threads: 1}
rounds: {count: ` + strconv.Itoa(powerRounds) + `, steps: 2, expect: 1, form: 1s}
gossip: {listen: "127.0.0.1:0", key_file: ` + filepath.Join(dir, "cluster.key") + `}
p2p: {listen: /ip4/127.0.0.1/tcp/0}
http: {listen: "127.0.0.1:0"}
`
	path := filepath.Join(dir, "solo.yaml")
	if err := errors.Join(os.WriteFile(path, []byte(yaml), 0o600), os.Mkdir(filepath.Join(dir, "state"), 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHOAL_TEST_AGENT="+path)
	return cmd
}

// reopening is an agent's beginning, done again and again on other directories.
type reopening struct {
	trainer *trainer
	fresh   []float32
	host    *p2p.Host
	where   string
}

func newReopening(t *testing.T) *reopening {
	t.Helper()
	r := &reopening{trainer: tinyTrainer(t, false), where: t.TempDir()}
	r.fresh = slices.Clone(r.trainer.local())
	if dir, err := os.MkdirTemp("/dev/shm", "shoal-"); err == nil { // to sync there costs nothing
		r.where = dir
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	return r
}

// check opens what is left of a directory.
func (r *reopening) check(t *testing.T, d *disk, rng *rand.Rand, what string) {
	t.Helper()
	dir := filepath.Join(r.where, "state")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	left := d.cut(rng)
	for name, b := range left {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fail := func(format string, args ...any) { t.Errorf("%s: "+format, append([]any{what}, args...)...) }
	a, err := r.open(dir, left["identity.key"])
	if a != nil {
		defer a.closeFiles(t)
	}
	if err != nil {
		fail("%v", err)
		return
	}
	st := a.round.stable
	newest := uint64(0)
	if at, ok := d.names[stableFile]; ok {
		newest = readStable(d.files[at].now).Last.Round
	}
	if last := st.Last.Round; last < d.relied.last || last > newest {
		fail("round %d is the last, want one of %d to %d", last, d.relied.last, newest)
	}
	commits, err := a.journal.Commits()
	if err != nil {
		fail("%v", err)
	}
	if lines := len(commits) + len(a.journal.Scores()); lines < d.relied.lines {
		fail("the journal has %d lines, and the agent went on from %d", lines, d.relied.lines)
	}
	if a.trainer.lost != "" {
		fail("the state of round %d cannot be read: %v", st.Last.Round, a.trainer.lostBy)
	}
	if kept := readStable(left[stableFile]); kept.Prepared != nil && st.Prepared == nil {
		fail("the state prepared for round %d cannot be read", kept.Next)
	}
	for round := 1; round <= int(st.Last.Round); round++ {
		if !slices.ContainsFunc(commits, func(c eval.Commit) bool { return c.Round == round }) {
			fail("round %d is not in the journal, and round %d is committed", round, st.Last.Round)
		}
	}
	if err := r.goOn(a, dir, left["identity.key"]); err != nil {
		fail("it does not go on: %v", err)
	}
}

// readStable is a stable.json's content; zero if it is none.
func readStable(b []byte) (st roster.Stable) {
	if json.Unmarshal(b, &st) != nil {
		return roster.Stable{}
	}
	return st
}

// open is what Run does before others are asked.
func (r *reopening) open(dir string, identity []byte) (a *Agent, err error) {
	copy(r.trainer.local(), r.fresh)
	copy(r.trainer.base, r.fresh)
	r.trainer.samples, r.trainer.lost = 0, ""
	a = &Agent{trainer: r.trainer, log: zerolog.Nop(), cfg: r.trainer.cfg, members: map[roster.ID]*member{}}
	a.cfg.Rounds.Count = powerRounds + 2
	if a.store, err = openStore(dir); err != nil {
		return nil, err
	}
	if err = a.openJournal(); err != nil {
		return a, err
	}
	if err = a.resume(); err != nil {
		return a, err
	}
	key, err := p2p.LoadIdentity(a.store.path("identity.key"))
	if err != nil {
		return a, err
	}
	if r.host == nil && len(identity) > 0 {
		if r.host, err = p2p.New(p2p.Config{Listen: "/ip4/127.0.0.1/tcp/0"}, key); err != nil {
			return a, err
		}
	}
	if a.host = r.host; a.host == nil {
		return a, nil // it has not said its name to anybody
	}
	if err = a.checkMemory(); err != nil {
		return a, err
	}
	a.machine = roster.NewMachine(a.cfg.Rounds, a.host.ID(), a.round.initial, a.round.stable)
	return a, a.recordLast()
}

func (a *Agent) closeFiles(t *testing.T) {
	t.Helper()
	if a.journal != nil {
		if err := a.journal.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := a.store.close(); err != nil {
		t.Error(err)
	}
}

// goOn makes another round durable as a round does, and finds it when it opens the directory once more.
func (r *reopening) goOn(a *Agent, dir string, identity []byte) error {
	if a.host == nil {
		return nil
	}
	state := slices.Clone(a.trainer.base)
	state[0]++
	st := a.round.stable
	last := roster.Record{Round: st.Last.Round + 1, Hash: part.Hash(state), Lineage: "after", Roster: roster.Roster{Generation: 1, Members: []roster.ID{a.host.ID()}}}
	if err := a.writeState(last.Hash, state, roster.Tag{}); err != nil {
		return err
	}
	st.Next, st.Last, st.Prepared = last.Round+1, last, nil
	if err := a.store.keepStable(st); err != nil {
		return err
	}
	if err := a.journal.AppendCommit(a.commitOf(last)); err != nil {
		return err
	}
	a.prune(last)
	if err := errors.Join(a.journal.Close(), a.store.close()); err != nil {
		return err
	}
	b, err := r.open(dir, identity)
	if err != nil {
		return err
	}
	a.journal, a.store = b.journal, b.store
	if got := b.round.stable.Last; got.Hash != last.Hash || b.trainer.lost != "" || !bytes.Equal(part.Bytes(b.trainer.base), part.Bytes(state)) {
		return fmt.Errorf("round %d with %.12s is the last, want %d with %.12s", got.Round, got.Hash, last.Round, last.Hash)
	}
	return nil
}
