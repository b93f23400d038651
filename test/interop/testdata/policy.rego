# Both scenarios, as AuthZEN's two endpoints:
#   POST /v0/data/authzen/evaluation
#   POST /v0/data/authzen/evaluations
package authzen

evaluation := {"decision": allowed(input)}

evaluations := {"evaluations": [{"decision": allowed(question)} | some question in input.evaluations]}

default allowed(_) := false

# The API gateway scenario.
allowed(q) if {
	q.resource.type == "route"
	q.action.name == "GET"
	q.resource.id in {"/users/{userId}", "/todos"}
	known(q)
}

allowed(q) if {
	q.resource.type == "route"
	some role in by_route[q.resource.id][q.action.name]
	role in roles(q)
}

by_route := {
	"/todos": {"POST": {"admin", "editor"}},
	"/todos/{todoId}": {"PUT": {"evil_genius", "editor"}, "DELETE": {"admin", "editor"}},
}

# The Todo scenario.
allowed(q) if {
	q.resource.type in {"user", "todo"}
	q.action.name in {"can_read_user", "can_read_todos"}
	known(q)
}

allowed(q) if {
	q.action.name == "can_create_todo"
	some role in {"admin", "editor"}
	role in roles(q)
}

allowed(q) if {
	q.action.name == "can_update_todo"
	"evil_genius" in roles(q)
}

allowed(q) if {
	q.action.name == "can_delete_todo"
	"admin" in roles(q)
}

allowed(q) if {
	q.action.name in {"can_update_todo", "can_delete_todo"}
	"editor" in roles(q)
	q.resource.properties.ownerID == data.users[q.subject.id].email
}

# Who somebody is, this decision point knows by itself.
known(q) if data.users[q.subject.id]

roles(q) := data.users[q.subject.id].roles
