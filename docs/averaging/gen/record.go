package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// record is everything that was measured in one run.
type record struct {
	Date   string  `json:"date"` // RFC 3339
	Scenes []scene `json:"scenes"`
	Costs  costs   `json:"costs"`
}

// scene is one set of links, and what was measured on them in turns.
type scene struct {
	Ranks   int       `json:"ranks"`
	Rate    int       `json:"rate_mbit"`    // of each rank's link, both ways; 0: loopback
	Steps   int       `json:"steps"`        // averages in a turn
	Goodput float64   `json:"goodput_mbit"` // of TCP through it; 0: loopback
	Ours    []variant `json:"ours"`
	Theirs  []theirs  `json:"theirs"` // by turn
}

// variant is one way of averaging.
type variant struct {
	Name  string   `json:"name"`
	Args  []string `json:"args"` // of shoal bench --collective
	Turns []ours   `json:"turns"`
}

// ours is what shoal bench --collective says.
type ours struct {
	Plan      string  `json:"plan"`
	Length    int     `json:"length"`
	Wire      string  `json:"wire"`
	Encrypted bool    `json:"encrypted"`
	Median    float64 `json:"ms_median"`
	Min       float64 `json:"ms_min"`
	Max       float64 `json:"ms_max"`
	CPU       float64 `json:"cpu_ns_per_byte"`
	Sent      float64 `json:"bytes_sent"`
	Machine   struct {
		CPU  string `json:"cpu"`
		CPUs int    `json:"cpus"`
	} `json:"machine"`
	Build struct {
		Version string `json:"version"`
		Go      string `json:"go"`
	} `json:"build"`
}

// theirs is what mpi_allreduce.py says. Times are in milliseconds.
type theirs struct {
	Peer      string    `json:"peer"`
	Allreduce []float64 `json:"allreduce_ms"`
	Star      []float64 `json:"star_ms"`
	CPU       float64   `json:"cpu_ns_per_byte"`
}

// costs is what shoal bench --collective --training says of four agents.
type costs struct {
	Shares []struct {
		Every        string  `json:"every"`
		Agents       int     `json:"agents"`
		Rounds       int     `json:"rounds"`
		Train        float64 `json:"train_s"`
		Wait         float64 `json:"wait_s"`
		Average      float64 `json:"average_s"`
		AverageShare float64 `json:"average_share"`
		WaitShare    float64 `json:"wait_share"`
	} `json:"shares"`
}

// turns is how often each side is measured in a scene, alternately.
const turns = 3

// scenes are the links and what is averaged over them: a model of 700,490 floats, and one of 25 million.
func scenes() []scene {
	ring, star := variant{Name: "ring"}, variant{Name: "star", Args: []string{"--set", "averaging.plan=star"}}
	plain := variant{Name: "ring, unencrypted", Args: []string{"--unencrypted"}}
	wire := func(name string) variant {
		return variant{Name: "ring, " + name, Args: []string{"--set", "averaging.wire=" + name}}
	}
	large := variant{Name: "ring, 25 million floats", Args: []string{"--length=25000000", "--steps=5", "--warmup=1"}}
	return []scene{
		{Ranks: 4, Rate: 1000, Steps: 30, Ours: []variant{ring, plain, star, wire("fp16"), wire("int8"), large}},
		{Ranks: 8, Rate: 100, Steps: 6, Ours: []variant{ring, star, wire("fp16"), wire("int8")}},
		{Ranks: 4, Steps: 30, Ours: []variant{ring, plain}},
	}
}

// measure makes the record. dir has mpi_allreduce.py.
func measure(ctx context.Context, dir, program string) (record, error) {
	r := record{Date: time.Now().UTC().Format(time.RFC3339), Scenes: scenes()}
	program, err := filepath.Abs(program)
	if err != nil {
		return r, err
	}
	for i := range r.Scenes {
		if err := r.Scenes[i].measure(ctx, dir, program); err != nil {
			return r, fmt.Errorf("measure %d ranks at %d Mbit/s: %w", r.Scenes[i].Ranks, r.Scenes[i].Rate, err)
		}
	}
	return r, output(ctx, &r.Costs, program, "bench", "--collective", "--training", "--ranks=4", "--json")
}

func (s *scene) measure(ctx context.Context, dir, program string) error {
	if s.Rate > 0 {
		net := segment{s.Ranks, s.Rate}
		net.close() // what an interrupted run left
		defer net.close()
		err := net.open(ctx)
		if err == nil {
			s.Goodput, err = net.goodput(ctx)
		}
		if err != nil {
			return err
		}
	}
	for range turns {
		for i := range s.Ours {
			v := &s.Ours[i]
			r, err := s.average(ctx, program, v.Args)
			if err != nil {
				return fmt.Errorf("%s: %w", v.Name, err)
			}
			v.Turns = append(v.Turns, r)
			fmt.Printf("%d ranks, %d Mbit/s, %s: %.2f ms\n", s.Ranks, s.Rate, v.Name, r.Median)
		}
		var t theirs
		if err := output(ctx, &t, s.mpi(dir)...); err != nil {
			return err
		}
		s.Theirs = append(s.Theirs, t)
		fmt.Printf("%d ranks, %d Mbit/s, %s: %.2f ms\n", s.Ranks, s.Rate, t.Peer, median(t.Allreduce))
	}
	return nil
}

// inside is a command line in the network of rank's namespace, or on loopback as it is.
func (s *scene) inside(rank int, words ...string) []string {
	if s.Rate == 0 {
		return words
	}
	return append([]string{"ip", "netns", "exec", space(rank + 1)}, words...)
}

// average runs the ranks as processes of their own, and returns what rank 0 says.
func (s *scene) average(ctx context.Context, program string, args []string) (ours, error) {
	var peers []string
	for i := range s.Ranks {
		host, port := "127.0.0.1", 29400+i
		if s.Rate > 0 {
			host, port = address(i+1), 29400
		}
		peers = append(peers, fmt.Sprint(host, ":", port))
	}
	group, ctx := errgroup.WithContext(ctx)
	var first ours
	for i := range s.Ranks {
		words := append([]string{program, "bench", "--collective", "--json", "--warmup=2", fmt.Sprint("--steps=", s.Steps), "--peers", strings.Join(peers, ","), "--rank", fmt.Sprint(i)}, args...)
		group.Go(func() error {
			var each ours
			if err := output(ctx, &each, s.inside(i, words...)...); err != nil || i > 0 {
				return err
			}
			first = each
			return nil
		})
	}
	return first, group.Wait()
}

// mpi is the command line of the other side. Its processes are started in the namespaces by a shell line in place of ssh,
// each with the host's name that Open MPI expects.
func (s *scene) mpi(dir string) []string {
	n, script := fmt.Sprint(s.Ranks), filepath.Join(dir, "mpi_allreduce.py")
	words := []string{"mpiexec", "--allow-run-as-root", "--oversubscribe", "--mca", "pml", "ob1", "--mca", "btl", "tcp,self"}
	if s.Rate > 0 {
		var hosts []string
		for i := range s.Ranks {
			hosts = append(hosts, address(i+1))
		}
		words = append(words, "--mca", "plm_rsh_agent", filepath.Join(dir, "mpi_agent.sh"), "--mca", "btl_tcp_if_include", "eth0",
			"--mca", "oob_tcp_if_include", "eth0", "--host", strings.Join(hosts, ","))
	}
	words = append(words, "-n", n, "python3", script, "--rounds", fmt.Sprint(s.Steps))
	if s.Rate == 0 {
		return words
	}
	return s.inside(0, "unshare", "--uts", "sh", "-c", "hostname "+space(1)+"; exec "+strings.Join(words, " "))
}

// output runs a command of at most five minutes and reads the JSON that it prints.
func output(ctx context.Context, to any, words ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, to)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", strings.Join(words, " "), errors.Join(err, fmt.Errorf("%s", said.Bytes())))
	}
	return nil
}
