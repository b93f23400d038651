package interop

import "slices"

// person is one of the five, with the attributes that the scenarios give them. Their
// ids are those in the published payloads.
type person struct {
	login, sub, name, email string
	roles                   []string
}

var people = []person{
	{"rick", "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "Rick Sanchez", "rick@the-citadel.com", []string{"admin", "evil_genius"}},
	{"morty", "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "Morty Smith", "morty@the-citadel.com", []string{"editor"}},
	{"summer", "CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "Summer Smith", "summer@the-smiths.com", []string{"editor"}},
	{"beth", "CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "Beth Smith", "beth@the-smiths.com", []string{"viewer"}},
	{"jerry", "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "Jerry Smith", "jerry@the-smiths.com", []string{"viewer"}},
}

// todoID is the one that the payloads are about.
const todoID = "7240d0db-8ff0-41ec-98b2-34a096273b9f"

// call is a request of the Todo application's page, what is asked about it, and who
// may by the published descriptions. Nobody else may.
type call struct {
	method, path, body string
	action             string
	resource           entity
	may                []string
}

type entity struct {
	Type, ID   string
	Properties map[string]any
}

// byRoute is the API gateway scenario: five questions about methods and routes.
func byRoute() []call {
	all := []string{"rick", "morty", "summer", "beth", "jerry"}
	editors := []string{"rick", "morty", "summer"}
	route := func(id string) entity { return entity{Type: "route", ID: id} }
	return []call{
		{"GET", "/users/rick@the-citadel.com", "", "GET", route("/users/{userId}"), all},
		{"GET", "/todos", "", "GET", route("/todos"), all},
		{"POST", "/todos", `{"title":"Buy a portal gun"}`, "POST", route("/todos"), editors},
		{"PUT", "/todos/" + todoID, `{"completed":true}`, "PUT", route("/todos/{todoId}"), editors},
		{"DELETE", "/todos/" + todoID, "", "DELETE", route("/todos/{todoId}"), editors},
	}
}

// byOwner is the Todo scenario, as one of the five makes its requests: of the todos
// one is their own, and one somebody else's.
func byOwner(who person) []call {
	other := people[0]
	if who.login == other.login {
		other = people[1]
	}
	may := func(yes bool) []string {
		if yes {
			return []string{who.login}
		}
		return nil
	}
	has := func(role string) bool { return slices.Contains(who.roles, role) }
	calls := []call{
		{"GET", "/fine/users/beth@the-smiths.com", "", "can_read_user", entity{Type: "user", ID: "beth@the-smiths.com"}, may(true)},
		{"GET", "/fine/users/" + who.email, "", "can_read_user", entity{Type: "user", ID: who.email}, may(true)},
		{"GET", "/fine/todos", "", "can_read_todos", entity{Type: "todo", ID: "todo-1"}, may(true)},
		{"POST", "/fine/todos", `{"title":"Buy a portal gun"}`, "can_create_todo", entity{Type: "todo", ID: "todo-1"}, may(has("admin") || has("editor"))},
	}
	for _, owner := range []string{other.email, who.email} {
		own := owner == who.email
		todo := entity{"todo", todoID, map[string]any{"ownerID": owner}}
		calls = append(calls,
			call{"PUT", "/fine/todos/" + todoID, `{"completed":true,"ownerID":"` + owner + `"}`, "can_update_todo", todo, may(has("evil_genius") || has("editor") && own)},
			call{"DELETE", "/fine/todos/" + todoID + "?ownerID=" + owner, "", "can_delete_todo", todo, may(has("admin") || has("editor") && own)},
		)
	}
	return calls
}
