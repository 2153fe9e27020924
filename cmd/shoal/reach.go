package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shoal/agent"
)

const (
	reachWithin    = 20 * time.Second // for an answer; training keeps the CPUs busy, and an agent asks the others for 5 s
	maxAnswerBytes = 8 << 20          // a cluster of a thousand members takes about 1 MB
	maxWordBytes   = 4 << 10          // of the files that name an agent's address and token
)

// agentTokenFile is the agent's file with the token that control calls present.
const agentTokenFile = "http.token"

// reachFlags say which agent a command talks to.
type reachFlags struct {
	address string // host:port
	state   string // directory
}

func (f *reachFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "agent", "", "`host:port` of an agent's HTTP, http.listen")
	cmd.Flags().StringVar(&f.state, "state", "", "state `directory` of an agent on this machine (default the configuration's)")
	_ = cmd.MarkFlagDirname("state")                                     // fails only for a flag that is not there
	_ = cmd.RegisterFlagCompletionFunc("agent", cobra.NoFileCompletions) // likewise
}

// reachHelp is what the long help of each command that talks to an agent says of them.
const reachHelp = "It asks the agent whose state directory --state names, or the one at --agent, or else the one that shoal run would start\n" +
	"here, by the configuration's state directory. Exit code 8 says that no agent answers."

// reached is an agent that answers.
type reached struct {
	address string
	where   string // how the user named it
	token   string // empty: not known
	client  *http.Client
}

// reach finds the agent that the flags and the configuration name. It does not ask it yet.
func (f *reachFlags) reach(o *options) (*reached, error) {
	if f.address != "" && f.state != "" {
		return nil, fail(exitUsage, errors.New("read --agent and --state: each names an agent; give one of them"))
	}
	r := &reached{client: &http.Client{Transport: &http.Transport{Proxy: nil}}} // a proxy of the environment must not come between
	state := f.state
	if state == "" {
		cfg, _, err := o.read(nil)
		if err != nil && f.address == "" {
			return nil, err
		}
		state = cfg.State
	}
	token, err := readWord(filepath.Join(state, agentTokenFile))
	if state == "" {
		token, err = "", nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && f.address == "" {
		return nil, fail(exitAbsent, fmt.Errorf("read the agent's token: %w; run this as the user that runs the agent", err))
	}
	if f.address != "" {
		host, port, err := net.SplitHostPort(f.address)
		if n, errPort := strconv.ParseUint(port, 10, 16); err != nil || errPort != nil || n == 0 || host == "" {
			return nil, fail(exitUsage, fmt.Errorf("read --agent %q: not host:port; give one such as 127.0.0.1:7948", f.address))
		}
		r.address, r.where, r.token = f.address, f.address, token
		return r, nil
	}
	return r, r.fromState(state, token)
}

// fromState takes the agent's address from its state directory.
func (r *reached) fromState(state, token string) error {
	file := filepath.Join(state, agentHTTPFile)
	address, err := readWord(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(exitAbsent, fmt.Errorf("no agent runs with state directory %s; start one with: shoal run --set state=%s, or name another with --state DIR or --agent HOST:PORT", state, state))
	case err != nil:
		return fail(exitAbsent, fmt.Errorf("find the agent: %w; run this as the user that runs the agent", err))
	case address == agent.HTTPOff:
		return fail(exitAbsent, fmt.Errorf("the agent of state directory %s serves no HTTP, and cannot be asked; start it with --set http.listen=127.0.0.1:7948", state))
	}
	r.address, r.where, r.token = address, address+" (from "+file+")", token
	return nil
}

// readWord reads a file of one word.
func readWord(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxWordBytes))
	return strings.TrimSpace(string(text)), err
}

// get asks for path and reads the JSON of the answer into v.
func (r *reached) get(ctx context.Context, path string, v any) error {
	return r.do(ctx, http.MethodGet, path, nil, v)
}

// post sends body as JSON with the token, and reads the answer into v.
func (r *reached) post(ctx context.Context, path string, body, v any) error {
	if r.token == "" {
		return fail(exitRefused, fmt.Errorf("ask the agent at %s for %s: its token is not known; name its state directory, which holds %s, with --state DIR", r.where, path, agentTokenFile))
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("ask the agent at %s for %s: %w", r.where, path, err)
	}
	return r.do(ctx, http.MethodPost, path, text, v)
}

// do sends one request.
func (r *reached) do(ctx context.Context, method, path string, body []byte, v any) error {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+r.address+path, bytes.NewReader(body))
	if err != nil {
		return fail(exitUsage, fmt.Errorf("ask the agent at %s: %w", r.where, err))
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
			return cause
		}
		return fail(exitAbsent, fmt.Errorf("no agent answers at %s: %w; is it running? Start it with shoal run, or name another with --state DIR or --agent HOST:PORT", r.where, cause(err)))
	}
	defer answer.Body.Close()
	if err := r.recognize(answer.Header); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return fail(exitAbsent, fmt.Errorf("read %s of the agent at %s: %w", path, r.where, err))
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return r.refusal(answer.StatusCode, path, text)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fail(exitAbsent, fmt.Errorf("read %s of the agent at %s: %w", path, r.where, err))
	}
	return nil
}

// cause is an error of the client without the method and address that it repeats.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		var op *net.OpError
		if errors.As(inner, &op) {
			return op
		}
	}
	return err
}

// recognize checks that the answer is of an agent, of one that speaks as this program does, and of the one meant.
func (r *reached) recognize(head http.Header) error {
	api := head.Get(agent.APIHeader)
	switch instance := head.Get(agent.InstanceHeader); {
	case api == "":
		return fail(exitAbsent, fmt.Errorf("what answers at %s is no agent, or one of an older version than this program, %s; use the program that it was started with", r.where, thisBuild(version).Version))
	case api != strconv.Itoa(agent.API):
		return fail(exitAbsent, fmt.Errorf("the agent at %s speaks interface %.8q, this program, %s, speaks %d; use the program that it was started with", r.where, api, thisBuild(version).Version, agent.API))
	case r.token != "" && strings.Contains(r.where, agentHTTPFile) && instance != agent.Instance(r.token):
		return fail(exitAbsent, fmt.Errorf("another agent answers at %s: the one of this state directory has ended; start it with shoal run, or name the other with --agent", r.where))
	}
	return nil
}

// refusal is an answer that is no success as an error.
func (r *reached) refusal(code int, path string, text []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) != nil || said.Error == "" {
		said.Error = http.StatusText(code)
	}
	err := fmt.Errorf("the agent at %s refuses %s: %s", r.where, path, printable(said.Error))
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fail(exitRefused, err)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fail(exitBusy, err)
	}
	return err
}
