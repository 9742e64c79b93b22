package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// document is an SPDX 2.3 document, as far as one is needed here.
type document struct {
	Version           string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	ID                string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creation       `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string        `json:"SPDXID"`
	Name             string        `json:"name"`
	Version          string        `json:"versionInfo,omitempty"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
	Comment          string        `json:"comment,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// sbom lists what the binary was built of, as the Go toolchain wrote it there: its
// own module, every other one, and the standard library.
func (b builder) sbom(arch, binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("what the binary was built of: %w", err)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "federator-linux-" + arch,
		DocumentNamespace: "https://federator.dev/spdx/federator-linux-" + arch + "-" + digest,
		CreationInfo:      creation{b.created.Format(time.RFC3339), []string{"Tool: federator tools/image"}},
	}
	program := ofModule(info.Main)
	program.Checksums = []checksum{{"SHA256", digest}}
	program.Comment = "the file /federator"
	d.add(program, relationship{d.ID, "DESCRIBES", program.ID})
	std := ofModule(debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")})
	d.add(std, relationship{program.ID, "DEPENDS_ON", std.ID})
	for _, m := range info.Deps {
		used := *m
		if m.Replace != nil {
			used = *m.Replace
		}
		p := ofModule(used)
		d.add(p, relationship{program.ID, "DEPENDS_ON", p.ID})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

func (d *document) add(p spdxPackage, r relationship) {
	d.Packages, d.Relationships = append(d.Packages, p), append(d.Relationships, r)
}

// ofModule is the package of a module.
func ofModule(m debug.Module) spdxPackage {
	p := spdxPackage{ID: "SPDXRef-" + spdxID(m.Path+"-"+m.Version), Name: m.Path, Version: m.Version, DownloadLocation: "NOASSERTION"}
	purl := "pkg:golang/" + m.Path
	if m.Version != "" {
		purl += "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	}
	p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", purl}}
	if m.Sum != "" {
		p.Comment = "go.sum " + m.Sum
	}
	return p
}

// spdxID keeps what an identifier may hold: letters, digits, dots and dashes.
func spdxID(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, text)
}

// setting is one of the settings of a build; "" if it has none of the name.
func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
