import Templates
import Text
import Tokenizers

// What a person should know of how prompts are written, the same for all commands.

extension RunModel {
  /// Remarks on the files that prompts come from.
  var promptRemarks: [String] {
    var remarks = tokenizer.notes.map { note in
      switch note {
      case .otherToken(let key):
        "special_tokens_map.json names another `\(key)` than tokenizer_config.json, which decides"
      case .unknownTokens(let tokens):
        "extra special tokens that the vocabulary lacks are read as plain text: "
          + Shown.text(tokens.map { "`\($0)`" }.joined(separator: ", "), limit: 200)
      }
    }
    if tokenizer.chatTemplate.isAbsent {
      remarks.append("the model has no chat template; prompts are written as LLaDA2's are (--raw uses none)")
    }
    return remarks
  }

  /// Remarks on what was asked for and changes nothing, told from what the template makes of it.
  func remarks(on options: ChatTemplate.Options, system: String?) -> [String] {
    func prompt(_ options: ChatTemplate.Options, system: String? = nil) -> [UInt8]? {
      let messages = (system.map { [ChatTemplate.Message(.system, $0)] } ?? []) + [.init(.user, "x")]
      return (try? tokenizer.chatTemplate.prompt(for: messages, options))?.bytes
    }
    func isIdle(_ change: (inout ChatTemplate.Options) -> Void) -> Bool {
      var other = options
      change(&other)
      return prompt(other) == prompt(options)
    }
    var remarks: [String] = []
    if let system, prompt(options, system: system) == prompt(options) {
      remarks.append("the model's chat template leaves out the text of --system")
    }
    if let thinking = options.thinking, isIdle({ $0.thinking = !thinking }) {
      remarks.append("--thinking changes nothing: the model's chat template has no switch for it")
    }
    if options.tools != nil, isIdle({ $0.tools = nil }) {
      remarks.append("the model's chat template leaves out the functions of --tools")
    }
    return remarks
  }
}
