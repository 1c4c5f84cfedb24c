"""What keeps the audit log honest towards others: today the signer; witnesses come later."""
