"""What tests of nbckpt, and of stores that others write for it, are made of; nothing else imports it."""
