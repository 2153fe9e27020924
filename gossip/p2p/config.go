package p2p

// Config says where streams are accepted.
type Config struct {
	Listen string `yaml:"listen"` // multiaddress; port 0: any free one
}

// Defaults are the values of an absent configuration.
func Defaults() Config { return Config{Listen: "/ip4/0.0.0.0/tcp/7947"} }
