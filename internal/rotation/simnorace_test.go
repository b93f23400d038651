//go:build !race

package rotation

// fleetsByDefault is how many fleets of Runners are simulated, unless -seeds says
// how many.
const fleetsByDefault = 2000
