package configs

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Whatever a section refuses is refused with its origin and whole path.
func TestValidatePlacesSections(t *testing.T) {
	errs := errors.Join(errors.New("sgd.rate: -1; give more"), errors.Join(errors.New("width: 9"), errors.New("no key")))
	origins := Origins{"learner.sgd.rate": "a.yaml:3:9", "learner.width": "--set learner.width"}
	var got []string
	for _, err := range flatten(errs) {
		got = append(got, place(err, "learner", origins).Error())
	}
	want := []string{"a.yaml:3:9: learner.sgd.rate: -1; give more", "--set learner.width: 9", "learner.no key"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every section checks itself, and its complaints carry the origin.
func TestValidateEverySection(t *testing.T) {
	for path, value := range map[string]string{
		"data.partition": "stridden", "learner.model": "resnet", "rounds.count": "0", "averaging.plan": "rign", "gossip.listen": "nowhere",
		"p2p.listen": "nowhere", "eval.every": "-1", "http.listen": "nowhere", "log.level": "loud",
	} {
		c, origins, err := Load("", nil, map[string]string{path: value})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Validate(origins)
		if err == nil || !strings.HasPrefix(err.Error(), "--set "+path+": ") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"0.0.0.0:7946": true, ":0": true, "[::1]:65535": true, "pi-1:7946": true,
		"": false, "0.0.0.0": false, "0.0.0.0:": false, "0.0.0.0:65536": false, "::1:7946": false, "a:b": false,
	} {
		if err := checkListen("x", address); (err == nil) != want {
			t.Errorf("listen %q: %v", address, err)
		}
	}
	for address, want := range map[string]bool{
		"/ip4/0.0.0.0/tcp/7947": true, "/ip6/::/tcp/0": true, "/ip4/127.0.0.1/tcp/65535": true,
		"": false, "0.0.0.0:7947": false, "/ip4/::/tcp/1": false, "/ip6/1.2.3.4/tcp/1": false, "/ip4/0.0.0.0/udp/1": false,
		"/ip4/0.0.0.0/tcp/65536": false, "/ip4/0.0.0.0/tcp/1/x": false, "x/ip4/0.0.0.0/tcp": false, "/dns4/pi/tcp/1": false, "/ip6/fe80::1%eth0/tcp/1": false,
	} {
		if err := checkMultiaddress("x", address); (err == nil) != want {
			t.Errorf("multiaddress %q: %v", address, err)
		}
	}
	for seeds, want := range map[string]string{
		"": "", "10.0.0.1:7946,pi-2:7946,[::1]:1": "",
		"pi-2": `--set gossip.seeds: "pi-2" is not host:port; `, "pi-2:0": `--set gossip.seeds: "pi-2:0" is`, ":7946": `--set gossip.seeds: ":7946" is`,
	} {
		c, origins, err := Load("", nil, map[string]string{"gossip.seeds": seeds})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(origins); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("seeds %q: %v, want %q", seeds, err, want)
		}
	}
}
