variable "account" {
  description = "The id of the account that pushes."
  type        = string

  validation {
    condition     = length(var.account) >= 6 && length(var.account) <= 30
    error_message = "The account that pushes would be called ${var.account}; Google allows 6 to 30 characters. Choose a shorter `name`, or a shorter name for the topic."
  }
}

variable "dead_letter_topics" {
  description = "Ids of the topics that messages are given up to, by their key in the topology."
  type        = map(string)
  default     = {}
}

variable "key" {
  description = "The Cloud KMS key that messages are encrypted with; null for Google's own."
  type        = string
  default     = null
}

variable "name" {
  description = "The topic's full name."
  type        = string

  validation {
    condition     = length(var.name) >= 3 && !startswith(var.name, "goog")
    error_message = "Pub/Sub refuses the name ${var.name}: it has at least three characters and does not begin with goog."
  }
}

variable "prefix" {
  description = "What stands before each subscription's key in its name."
  type        = string
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "publishers" {
  description = "Who may publish, by a name that is known before they exist."
  type        = map(string)
}

variable "pubsub_agent" {
  description = "The account Pub/Sub itself acts as, as an IAM member."
  type        = string
}

variable "region" {
  description = "Where messages are kept and the functions run."
  type        = string
}

variable "subscriptions" {
  description = "The topic's push subscriptions by their key in the topology; times in seconds."
  type = map(object({
    function              = string
    ack_deadline          = number
    min_backoff           = number
    max_backoff           = number
    dead_letter           = optional(string)
    max_delivery_attempts = optional(number)
  }))

  validation {
    condition     = alltrue([for one in values(var.subscriptions) : one.ack_deadline >= 10 && one.ack_deadline <= 600])
    error_message = "ack_deadline is 10 to 600 seconds."
  }
  validation {
    condition     = alltrue([for one in values(var.subscriptions) : (one.dead_letter == null) == (one.max_delivery_attempts == null)])
    error_message = "dead_letter and max_delivery_attempts go together."
  }
  validation {
    condition     = alltrue([for one in values(var.subscriptions) : one.min_backoff <= one.max_backoff && one.max_backoff <= 600])
    error_message = "min_backoff is no more than max_backoff, which is at most 600 seconds."
  }
}

variable "targets" {
  description = "The functions by their key in the topology: the Cloud Run service behind each, its address, its timeout in seconds."
  type = map(object({
    service = string
    uri     = string
    timeout = number
  }))
}
