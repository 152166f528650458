# Who calls whom, and signs in for whom. Addresses are known once functions are made, so these runs apply, to mocks alone.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "google-beta" {
  source = "./tests/mocks"
}

variables {
  project_id = "test-project"
  archive    = "topology.yaml" # any file does
  secrets    = {}
}

run "pushes_and_calls_are_signed_for_the_function_they_go_to" {
  command = apply

  assert {
    condition = alltrue(flatten([
      for q in concat(values(module.queue), values(module.dead_letters)) : [
        for key, s in q.subscriptions :
        s.push_config[0].oidc_token[0].audience == s.push_config[0].push_endpoint
        && s.push_config[0].push_endpoint == module.function[yamldecode(file("topology.yaml")).subscriptions[key].function].uri
        && s.push_config[0].oidc_token[0].service_account_email != ""
      ]
    ]))
    error_message = "A push goes to another function than the topology says, or is not signed for it."
  }
  assert {
    condition     = length(distinct([for f in module.function : f.uri])) == length(module.function)
    error_message = "Addresses do not differ: what is compared here proves nothing."
  }
  assert {
    condition = alltrue([
      for key, job in google_cloud_scheduler_job.this :
      job.http_target[0].uri == module.function[yamldecode(file("topology.yaml")).schedules[key].function].uri
      && job.http_target[0].oidc_token[0].audience == job.http_target[0].uri
    ])
    error_message = "A scheduled call goes elsewhere, or is not signed for the function it calls."
  }
  assert {
    condition     = output.api == module.function["api"].uri
    error_message = "The API's address is another function's."
  }
}
