/// A sentence for a person: what is wrong, where, how to mend it. Every one is made in `Failure+Messages.swift` and
/// `Failure+RunMessages.swift`.
struct Failure: Error {
  let what: String
  var place: String?
  var hint: String?
  var code: ExitStatus = .failed
}
