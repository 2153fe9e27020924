package chaos

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// recordedOn is where and when something was measured.
type recordedOn struct {
	Machine string `json:"machine"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
}

func (o recordedOn) String() string { return fmt.Sprintf("%s, %s, %s", o.Commit, o.Date, o.Machine) }

// here is this machine, this commit and now. A record must name its commit, so a copy without history can make none.
func here(t *testing.T) recordedOn {
	t.Helper()
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		t.Fatalf("name the commit of a record: %v; measure in a clone with its history", err)
	}
	return recordedOn{
		Machine: fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version()),
		Commit:  strings.TrimSpace(string(commit)), Date: time.Now().UTC().Format(time.RFC3339),
	}
}
