import Glibc
import Tokenizers

extension Answering {
  /// Shows the answer in the way that suits stdout.
  func answerOnStdout(_ prompt: [Int], isQuiet: Bool, trace: TraceFile?) throws(Failure) -> Answer {
    if Console.stdoutIsTerminal, !Console.isDumb {
      var display = LiveDisplay(model: model, showsStatus: !isQuiet)
      return try answer(prompt, display: &display, trace: trace)
    }
    var display = PlainDisplay(model: model, stops: stops)
    return try answer(prompt, display: &display, trace: trace)
  }
}

/// `--chat`: lines in, answers out, with everything said before in each prompt.
struct Conversation {
  private let answering: Answering
  private let options: ChatTemplate.Options
  private let isQuiet: Bool
  private let prompts = isatty(STDIN_FILENO) == 1

  init(_ answering: Answering, _ options: ChatTemplate.Options, isQuiet: Bool) {
    self.answering = answering
    self.options = options
    self.isQuiet = isQuiet
  }

  /// - Parameter first: the first message, if it was given already.
  func run(system: String?, first: String?) throws(Failure) {
    var messages = system.map { [ChatTemplate.Message(.system, $0)] } ?? []
    var lines = InputLines()
    var given = first
    if prompts, !isQuiet { Console.note("One message a line; /exit or Ctrl-D ends.") }
    while true {
      let line: [UInt8]
      if let first = given {
        line = Array(first.utf8)
        given = nil
      } else {
        if prompts { Console.status("> ") }
        guard let next = try lines.next() else { break }
        line = next
      }
      let before = messages
      do throws(Failure) {
        let text = try TextInput.string(line, "stdin")
        if text == "/exit" { return }
        if text.isEmpty { continue }
        messages.append(.init(.user, text))
        let answer = try answer(messages)
        messages.append(.init(.assistant, answer.text))
      } catch {
        // Who sits there says it in another way; a script would go on without knowing. Damage stays what it is.
        guard prompts, !Interrupt.isRequested, error.code != .integrity else { throw error }
        messages = before
        Console.report(error)
      }
    }
    if prompts { Console.note() }
  }

  private func answer(_ messages: [ChatTemplate.Message]) throws(Failure) -> Answer {
    let source = "the conversation of \(messages.count) messages"
    let byteCount = messages.reduce(0) { $0 + $1.content.utf8.count }
    let prompt = try answering.model.ids(of: byteCount, from: source) { tokenizer throws(TokenizerError) in
      try tokenizer.encode(conversation: messages, options)
    }
    try answering.check(prompt, from: source)
    let answer = try answering.answerOnStdout(prompt, isQuiet: isQuiet, trace: nil)
    if !isQuiet { Console.note(answer.summary) }
    if Interrupt.isRequested { Glibc.exit(Interrupt.status.rawValue) }
    return answer
  }
}
