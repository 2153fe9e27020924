package gossip

// Config says how members find each other.
type Config struct {
	Listen  string   `yaml:"listen"`   // host:port of membership, UDP and TCP; port 0: any free one
	Seeds   []string `yaml:"seeds"`    // host:port of any members; empty: this agent waits to be joined
	KeyFile string   `yaml:"key_file"` // file with the cluster's keys, one per line, 32 bytes in base64; made by shoal keygen, read again while running
}

// Defaults are the values of an absent configuration.
func Defaults() Config { return Config{Listen: "0.0.0.0:7946"} }
