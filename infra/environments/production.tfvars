# A deployment that holds what must not be lost. Copy it, fill in what is in capitals, and name it with ENV=production.
project_id = "MY-PROJECT"
region     = "europe-west1"

users     = ["user:SOMEBODY@EXAMPLE.COM"]
deployers = ["user:SOMEBODY@EXAMPLE.COM"]
alerts    = { emails = ["SOMEBODY@EXAMPLE.COM"] }

database = {
  high_availability = true
}

settings = {
  APPROVE_ABOVE_USD = "25" # whoever drops a file: what is likely to cost more waits for approval
}
