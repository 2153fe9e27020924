package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestClassOf(t *testing.T) {
	for text, want := range map[string]count{
		"fmla v3.4s, v4.4s, v2.s[0]": {Instructions: 1, FMA: 1},
		"fmadd s0, s1, s2, s3":       {Instructions: 1, FMA: 1},
		"fadd v1.4s, v1.4s, v2.4s":   {Instructions: 1, Vector: 1},
		"mov v6.16b, v3.16b":         {Instructions: 1, Vector: 1},
		"ldr q0, [x5],":              {Instructions: 1, Loads: 1, Scalar: 1},
		"fcmgt v4.4s, v3.4s,":        {Instructions: 1, Vector: 1},
		"movi d0,":                   {Instructions: 1, Vector: 1},
		"ldp q4, q3, [x9]":           {Instructions: 1, Loads: 2},
		"ldr q1, [x8, x10]":          {Instructions: 1, Loads: 1},
		"ldp x8, x9, [x0]":           {Instructions: 1, Loads: 1},
		"ld1r { v0.4s }, [x8]":       {Instructions: 1, Loads: 1, Vector: 1},
		"stp q4, q3, [x9],":          {Instructions: 1, Stores: 2, Scalar: 1},
		"str s1, [x11, x10, lsl":     {Instructions: 1, Stores: 1},
		"subs x8, x8,":               {Instructions: 1, Scalar: 1},
		"b.ne 0x80 <scale+0x80>":     {Instructions: 1, Scalar: 1},
		"nop":                        {Instructions: 1, Scalar: 1},
		"mov x9, xzr":                {Instructions: 1, Scalar: 1},
		"sub sp, sp,":                {Instructions: 1, Scalar: 1},
		"bif v1.16b, v2.16b, v3.16b": {Instructions: 1, Vector: 1},
		"scvtf v0.4s, v0.4s":         {Instructions: 1, Vector: 1},
		"madd x8, x9, x10, x11":      {Instructions: 1, Scalar: 1},
		"tbnz w9,":                   {Instructions: 1, Scalar: 1},
		"sshll v0.4s, v0.4h,":        {Instructions: 1, Vector: 1},
		"fmls v1.4s, v2.4s, v3.4s":   {Instructions: 1, FMA: 1},
		"csel x3, x2, x15, lt":       {Instructions: 1, Scalar: 1},
		"stur q0, [x1, #-16]":        {Instructions: 1, Stores: 1},
		"fmov s0, w8":                {Instructions: 1, Vector: 1},
		"zip1 v0.4s, v1.4s, v2.4s":   {Instructions: 1, Vector: 1},
		"umax v0.4s, v1.4s, v2.4s":   {Instructions: 1, Vector: 1},
	} {
		if got := classOf(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// TestAssemblyClasses: every instruction of the kernels is in one class, and none in two but loads and stores that do more.
func TestAssemblyClasses(t *testing.T) {
	kernels, err := readAssembly("../../../learner/kernel/neon_arm64.s")
	if err != nil || len(kernels) < 20 {
		t.Fatalf("%d kernels, %v", len(kernels), err)
	}
	for _, r := range kernels {
		var all count
		for _, c := range r.class {
			all.add(c, 1)
		}
		if n := all.FMA + all.Vector + all.Loads + all.Stores + all.Scalar; all.Instructions != int64(len(r.words)) || n < all.Instructions || n > 2*all.Instructions {
			t.Errorf("%s: %d words, %+v", r.name, len(r.words), all)
		}
		if _, conditional, branch := target(r.words[len(r.words)-1], 0); !branch || conditional {
			t.Errorf("%s ends in %#x, from which control runs out of it", r.name, r.words[len(r.words)-1])
		}
	}
	for name, text := range map[string]string{"no kernels": "TEXT x(SB)\n", "invalid syntax": "TEXT aNEONbody<>(SB)\n\tWORD $0xzz // nop\n"} {
		path := filepath.Join(t.TempDir(), "x.s")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readAssembly(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want an error with %q", err, name)
		}
	}
}

func TestTarget(t *testing.T) {
	for _, v := range []struct {
		word                uint32
		at                  uint64
		want                uint64
		conditional, branch bool
	}{ // from the listing of a kernel
		{0x5400006a, 0x14, 0x20, true, true},
		{0x1400000f, 0x1c, 0x58, false, true},
		{0x54fffeed, 0x54, 0x30, true, true},
		{0xd65f03c0, 0xc4, 0, false, true},
		{0xd503201f, 0x28, 0, false, false},
		{0xb4000040, 0x100, 0x108, true, true}, // cbz x0, .+8
		{0x3607ffe0, 0x100, 0xfc, true, true},  // tbz w0, #0, .-4
	} {
		if got, conditional, branch := target(v.word, v.at); got != v.want || conditional != v.conditional || branch != v.branch {
			t.Errorf("%#x at %#x: %#x, %v, %v", v.word, v.at, got, conditional, branch)
		}
	}
}

// loop is a routine at 0x1000 of two instructions, a loop of two, and a return; and where a step begins.
func loop() (*routine, uint64) {
	one := count{Instructions: 1, Scalar: 1}
	return &routine{name: "loop", at: 0x1000, words: []uint32{0xd503201f, 0xd503201f, 0xd503201f, 0x54ffffe1, 0xd65f03c0}, class: []count{one, one, {Instructions: 1, FMA: 1}, one, one}}, 0x9000
}

// said is the log of bursts at addresses; one below 0 was stopped.
func said(at ...int) string {
	log := "warming up\n"
	for _, pc := range at {
		if pc < 0 {
			log += fmt.Sprintf("Stopped execution of TB chain before 0x7f10c24eba00 [%016x] x\n", -pc)
			continue
		}
		log += fmt.Sprintf("Trace 6: 0x7f10c24eba00 [0000000001009331/%016x/00000001/00080201] x\n", pc)
	}
	return log
}

func TestTracer(t *testing.T) {
	r, step := loop()
	once := []int{0x1000, 0x1008, 0x1008, 0x1010} // three times round
	for name, v := range map[string]struct {
		log   []int
		steps int
		want  count // in the last
		err   string
	}{
		"before the first":  {once, 0, count{}, ""},
		"a step":            {slices.Concat([]int{0x9000}, once), 1, count{Instructions: 9, FMA: 3, Scalar: 6}, ""},
		"stopped and again": {[]int{0x9000, 0x1000, 0x1008, -0x1008, 0x1008, 0x1010}, 1, count{Instructions: 7, FMA: 2, Scalar: 5}, ""},
		"a step stopped":    {slices.Concat([]int{0x9000, -0x9000, 0x9000}, once), 1, count{Instructions: 9, FMA: 3, Scalar: 6}, ""},
		"something else":    {[]int{0x9000, 0x8888, 0x1010}, 1, count{Instructions: 1, Scalar: 1}, ""},
		"cut otherwise":     {[]int{0x9000, 0x1000, 0x1004}, 1, count{}, "it cuts code otherwise"},
	} {
		tr := newTracer([]*routine{r}, step)
		err := tr.read(strings.NewReader(said(v.log...)))
		if v.err != "" {
			if err == nil || !strings.Contains(err.Error(), v.err) {
				t.Errorf("%s: %v, want %q", name, err, v.err)
			}
			continue
		}
		if err != nil || len(tr.steps) != v.steps {
			t.Errorf("%s: %v, %d steps", name, err, len(tr.steps))
		} else if v.steps > 0 && *tr.steps[v.steps-1].kernel("loop") != v.want {
			t.Errorf("%s: %+v, want %+v", name, *tr.steps[v.steps-1]["loop"], v.want)
		}
	}
}

// FuzzTracer: no log makes it panic, and none gives more steps than lines.
func FuzzTracer(f *testing.F) {
	f.Add(said(0x9000, 0x1000, 0x1008, 0x1010))
	f.Add(said(0x9000, -0x9000, -0x1000))
	f.Add("Trace 0: 0x1 [zz/]\nTrace [1/2/3]\n [\n")
	f.Fuzz(func(t *testing.T, log string) {
		r, step := loop()
		tr := newTracer([]*routine{r}, step)
		if err := tr.read(strings.NewReader(log)); err == nil && len(tr.steps) > strings.Count(log, "\n")+1 {
			t.Errorf("%d steps from %q", len(tr.steps), log)
		}
	})
}

func TestTake(t *testing.T) {
	run := func(n int64) tally { return tally{"gemm": &count{Instructions: n}} }
	last := func() tally {
		return tally{"gemm": &count{Instructions: 7}, "descend": &count{Instructions: 9, Loads: 3, Stores: 2}}
	}
	c := &counted{Lines: []countedLine{{Layer: "a"}, {Layer: "b"}}}
	if err := c.take([]tally{run(5), last(), run(5), last()}); err != nil {
		t.Fatal(err)
	}
	if len(c.Lines) != 3 || c.Lines[1].Kernels["gemm"].Instructions != 7 || c.Lines[1].Kernels["descend"] != nil || c.Lines[2].Bytes != 80 || c.byKernel().sum().Instructions != 21 {
		t.Errorf("%+v", c.Lines)
	}
	for want, steps := range map[string][]tally{
		"3 steps began":    {run(5), last(), run(5)},
		"must be the same": {run(4), last(), run(5), last()},
		"no descend":       {run(5), run(5), run(5), run(5)},
	} {
		c := &counted{Lines: []countedLine{{Layer: "a"}, {Layer: "b"}}}
		if err := c.take(steps); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestCycles works two cores out by hand.
func TestCycles(t *testing.T) {
	pi4, pi5 := boards()[0].core, boards()[1].core
	for _, v := range []struct {
		of         count
		pi4, pi5   float64
		why4, why5 string
	}{
		{count{Instructions: 12, FMA: 8, Vector: 2, Loads: 2}, 10, 5, "vector units", "vector units"},
		{count{Instructions: 12, Loads: 8, Stores: 4}, 8, 8, "loads and stores", "loads and stores"},
		{count{Instructions: 30, FMA: 5, Loads: 5, Stores: 2, Scalar: 18}, 10, 7.5, "decoder", "decoder"},
		{count{}, 0, 0, "", ""},
	} {
		c4, why4 := pi4.cycles(v.of)
		if c5, why5 := pi5.cycles(v.of); c4 != v.pi4 || c5 != v.pi5 || why4 != v.why4 || why5 != v.why5 {
			t.Errorf("%+v: %v (%s) and %v (%s)", v.of, c4, why4, c5, why5)
		}
	}
}

// A plan of two steps on two cores of 1 GHz, one bound by its instructions and one by its memory.
func TestLimits(t *testing.T) {
	b := board{cores: 2, core: core{clock: 1, width: 1, fma: 1, vector: 1, loads: 1, stores: 1, scalar: 1}}
	c := &counted{Lines: []countedLine{
		{Bytes: 1e6, Kernels: tally{"a": {Instructions: 4e6}, "b": {Instructions: 4e6}}}, // 4 ms of instructions, ½ ms of memory
		{Bytes: 12e6, Kernels: tally{"a": {Instructions: 2e6}}},                          // 1 ms and 6 ms
	}}
	if issue, memory, both := c.limits(b, 2); issue != 5 || memory != 6.5 || both != 10 {
		t.Errorf("%v ms of instructions, %v of memory, %v of both", issue, memory, both)
	}
}

// TestCountRecords: what was counted is what the plan says is to be done. A vector multiply-add has four, of which a
// product at an edge may waste some; depthwise convolutions leave out what would multiply the padding, which on the
// smallest images is most.
func TestCountRecords(t *testing.T) {
	r := &records{dir: ".."}
	for _, c := range countings() {
		got := r.counted(c.name)
		if r.err != nil {
			t.Fatal(r.err)
		}
		flops, fma := 0.0, 0.0
		for _, l := range got.Lines {
			if l.FLOPs > 0 {
				all := l.Kernels.sum()
				flops, fma = flops+l.FLOPs, fma+8*float64(all.FMA)
				if 8*float64(all.FMA) < l.FLOPs && !strings.HasPrefix(l.Op, "depthwise") {
					t.Errorf("%s: %s %s has %g operations and %d vector multiply-adds", c.name, l.Layer, l.Op, l.FLOPs, all.FMA)
				}
			}
		}
		if fma < flops || fma > 2*flops {
			t.Errorf("%s: %g operations counted of %g planned", c.name, fma, flops)
		}
		if got.Result.Set != "neon" || got.Result.Threads != 1 || !strings.HasPrefix(got.Emulator, "qemu-aarch64") || got.Result.ImagesPerSecond != 0 {
			t.Errorf("%s: %+v", c.name, got.Result)
		}
	}
	plan := r.plan("plan-128")
	if same := r.counted("count-128-12"); same.Result.StepGFLOP != plan.Result.StepGFLOP {
		t.Errorf("%v GFLOP counted, %v in the plan that was timed", same.Result.StepGFLOP, plan.Result.StepGFLOP)
	}
}

func TestCountAllRefuses(t *testing.T) {
	if err := countAll(t.Context(), "..", filepath.Join(t.TempDir(), "none"), nil); err == nil || !strings.Contains(err.Error(), "read program: ") {
		t.Errorf("no program: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := countAll(t.Context(), "..", self, nil); err == nil {
		t.Error("counted this test")
	}
}
