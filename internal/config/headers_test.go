package config

import (
	"slices"
	"testing"
	"time"
)

func TestSecurityHeadersByDefault(t *testing.T) {
	c := mustLoad(t, nil)
	want := SecurityHeaders{HSTS: 8760 * time.Hour, FrameOptions: "SAMEORIGIN", ReferrerPolicy: "strict-origin-when-cross-origin", ContentTypeOptions: true}
	if c.SecurityHeaders != want || !slices.Equal(c.Logout.ClearSiteData, []string{"cache", "storage"}) {
		t.Errorf("%+v, %+v", c.SecurityHeaders, c.Logout)
	}
}

func TestSecurityHeadersCanBeOff(t *testing.T) {
	c := mustLoad(t, map[string]string{SettingsFile: `
security_headers: {hsts: 0, frame_options: off, referrer_policy: off, content_type_options: false}
logout: {clear_site_data: []}
`})
	want := SecurityHeaders{FrameOptions: HeaderOff, ReferrerPolicy: HeaderOff}
	if c.SecurityHeaders != want || len(c.Logout.ClearSiteData) != 0 {
		t.Errorf("%+v, %+v", c.SecurityHeaders, c.Logout)
	}
}
