package catalog

import "testing"

func TestAPortIsExposedByClustersThatHaveItsProtocolAndNumber(t *testing.T) {
	http, web := Port{Name: "http", Protocol: TCP, Number: 80}, Port{Name: "web", Protocol: TCP, Number: 80}
	unnamed := Port{Protocol: TCP, Number: 80}
	for name, c := range map[string]struct {
		has  []Port
		want string // what the cluster calls it; "-" if it does not expose it
	}{
		"the same port":                     {[]Port{{Name: "x", Protocol: TCP, Number: 81}, http}, "http"},
		"under another name":                {[]Port{web}, "web"},
		"without a name":                    {[]Port{unnamed}, ""},
		"under its name, after another one": {[]Port{web, http}, "http"},
		"the first of other names":          {[]Port{web, unnamed}, "web"},
		"the name with another number":      {[]Port{{Name: "http", Protocol: TCP, Number: 8080}}, "-"},
		"the name with another protocol":    {[]Port{{Name: "http", Protocol: UDP, Number: 80}}, "-"},
		"other ports":                       {[]Port{{Name: "dns", Protocol: UDP, Number: 53}}, "-"},
		"no ports":                          {nil, "-"},
	} {
		set := EndpointSet{Ports: c.has}
		if got, ok := set.Exposes(http); ok != (c.want != "-") || ok && got.Name != c.want {
			t.Errorf("%s: found %+v, %v, expected %q", name, got, ok, c.want)
		}
	}
}
