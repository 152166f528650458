# A deployment to try things with, beside another in the same project: the smallest database, one instance of each function,
# and nothing is kept when it is destroyed.
project_id = "MY-PROJECT"
region     = "europe-west1"
name       = "rowlift-trial"

users     = ["user:SOMEBODY@EXAMPLE.COM"]
deployers = ["user:SOMEBODY@EXAMPLE.COM"]

most_instances      = 1
deletion_protection = false

database = {
  tier            = "db-g1-small"
  max_connections = 100
  disk_gb         = 10
  disk_limit_gb   = 50
  backups         = 2
  log_days        = 1
}

settings = {
  APPROVE_ABOVE_USD = "1"
}
