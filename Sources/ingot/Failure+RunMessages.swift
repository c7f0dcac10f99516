import Decoding
import Models
import Storage
import Text
import Tokenizers

// Every sentence a person can see when `ingot run` fails.

extension Failure {
  /// - Parameter model: the model whose tokenizer it is.
  init(_ error: TokenizerError, of model: String) {
    let parts = "\(error)".split(separator: "\n  in ", maxSplits: 1)
    let file = parts.count > 1 ? ": \(parts[1])" : ""
    self.init(what: Shown.text(String(parts[0]), limit: 400), place: "`\(model)`\(file)", hint: error.hint)
  }

  /// - Parameter tools: what messages call the file of functions.
  init(tools source: String, detail: String) {
    self.init(
      what: "no functions can be read from this file: \(detail)", place: source,
      hint: "a chat template takes a JSON array of objects, as `tools` of a request has them")
  }

  /// - Parameters:
  ///   - source: what held the prompt: "-p", a file's name.
  ///   - longest: the tokens that could be asked for after this prompt.
  ///   - model: the path of the model that decodes.
  ///   - tokenizer: what made the tokens of a text; nil where they were given as such.
  init(
    _ error: DecodingError, prompt source: String, longest: Int, model: String = "", tokenizer: Tokenizer? = nil
  ) {
    switch error {
    case .model(let error): self.init(error)
    case .tooLong(let positions, let limit):
      self.init(
        what: "prompt and answer take \(Format.count(positions)) positions, the model has \(Format.count(limit))",
        place: source,
        hint: longest > 0
          ? "ask for at most --gen-length \(longest)"
          : "the prompt alone fills them; shorten it")
    case .tokenOutOfRange(let id, let index, let vocabulary):
      let text = (tokenizer?.token(id)).map { ", `\(Shown.text($0, limit: 80))`," } ?? ","
      self.init(
        what: "token \(id)\(text) number \(index + 1), is outside the vocabulary of \(Format.count(vocabulary))",
        place: source,
        hint: tokenizer == nil
          ? "the ids must come from this model's tokenizer"
          : "tokens were added to the tokenizer and the model's embeddings were not enlarged; leave the token out, or use "
            + "the tokenizer that was published with the model")
    case .maskInPrompt(let index):
      self.init(
        what: "the text holds the mask token, as number \(index + 1)", place: source,
        hint: "a mask is what the model fills in; what it is given has none")
    case .emptyContinuation:
      self.init(
        what: "the continuation is empty", place: source,
        hint: "give it some text; without any there is nothing to score", code: .usage)
    case .emptyPrompt:
      self.init(what: "the prompt is empty", place: source, hint: "give it some text", code: .usage)
    case .option(let name, let detail):
      self.init(what: "\(name) \(detail)", hint: "`--help` says what the options may be", code: .usage)
    case .specialToken(let detail):
      self.init(
        what: "special token \(detail)", place: model.isEmpty ? nil : "`\(model)`",
        hint: "config.json and the tokenizer must come from the same checkpoint")
    case .vocabulary(let count):
      self.init(
        what: "a vocabulary of \(Format.count(count)) tokens leaves this decoder nothing to choose",
        place: model.isEmpty ? nil : "`\(model)`",
        hint: "the model needs `vocab_size` tokens beside its mask and its control tokens")
    case .notFinite(_, let position):
      self.init(
        what: "the scores of `\(model)` at position \(Format.count(position)) are infinite or not numbers",
        place: source.isEmpty ? nil : source, hint: Self.notFiniteHint)
    case .interrupted: self.init(what: "interrupted", code: Interrupt.status)
    }
  }

  /// What its length alone tells, before it is encoded.
  init(tooLong byteCount: Int, leastTokens: Int, positions: Int, source: String) {
    self.init(
      what: "\(Format.count(byteCount)) bytes of text make \(Format.count(leastTokens)) tokens at least, the model has "
        + "\(Format.count(positions)) positions", place: source, hint: "shorten it")
  }

  /// A line of a trace that could not be written; those before it are there.
  init(trace error: FileError) {
    self.init(error)
    guard error.isNoRoom else { return }
    let advice = error.isFileSizeLimit ? "raise the limit on the size of files (ulimit -f)" : "free some room"
    hint = "\(advice) and run the command again; the trace holds whole lines as far as it goes"
  }
  /// Why scores may be infinite or no numbers.
  static let notFiniteHint =
    "weights that are not finite give such scores (`ingot inspect CHECKPOINT --check` lists them), and so do finite ones "
    + "that are too large: their products overflow"

  init(noModel path: String) {
    self.init(
      what: "there is no `\(path)`",
      hint: "name a pack that `ingot quantize` wrote, or the directory of a downloaded checkpoint")
  }

  init(notRunnable path: String) {
    self.init(
      what: "a single .safetensors file is no model", place: "`\(path)`",
      hint: "run a pack, or the directory with config.json, tokenizer.json and the weights", code: .usage)
  }

  init(noHashes path: String) {
    self.init(
      what: "--check-weights needs a pack: a checkpoint has no hashes", place: "`\(path)`",
      hint: "`ingot inspect CHECKPOINT --check` reads all of it and finds what is not finite", code: .usage)
  }

  init(emptyFile path: String) {
    self.init(what: "`\(path)` is empty", hint: "the download is probably incomplete; fetch this file again")
  }

  init(noTokenizer path: String) {
    self.init(
      what: "there is no tokenizer.json", place: "`\(path)`",
      hint: "fetch it with the checkpoint, and pack the checkpoint again if this is a pack")
  }

  init(maskOfTokenizer mask: Int, ofConfiguration wanted: Int, path: String) {
    self.init(
      what: "the tokenizer's mask token is \(mask), config.json says mask_token_id \(wanted)", place: "`\(path)`",
      hint: "the tokenizer belongs to another model; Ling's, for one, has another token at LLaDA2's mask")
  }

  init(stopIsMask mask: Int, path: String) {
    self.init(
      what: "token \(mask) is the mask and, by `eos_token_id`, ends an answer, too", place: "`\(path)`",
      hint: "correct `eos_token_id` in config.json or generation_config.json, or the tokenizer's mask token")
  }

  init(decoder: DecoderName, ofModelThatPredictsNext predictsNext: Bool) {
    self.init(
      what: predictsNext
        ? "decoder \(decoder.rawValue) denoises blocks; this model predicts the next token"
        : "decoder \(decoder.rawValue) is for models that predict the next token; this one denoises blocks",
      hint: "leave out --decoder", code: .usage)
  }

  init(noControlTokens path: String) {
    self.init(
      what: "decoder 2.2 needs `delete_token_id` and `split_token_id`, config.json lacks one", place: "`\(path)`",
      hint: "models before LLaDA2.2 were not trained to edit so: use --decoder 2.0 or one of 2.1", code: .usage)
  }

  /// Text from outside that is longer than any such text can be.
  init(tooLarge path: String, limit: Int) {
    self.init(
      what: "the input has more than \(Format.bytes(limit))", place: Shown.input(path),
      hint: "this is another file than was meant, or it has to be divided", code: .usage)
  }

  /// Text from outside that is no UTF-8.
  init(invalidUTF8 source: String, byteOffset: Int) {
    self.init(
      what: "the text is not valid UTF-8", place: "\(source), byte \(Format.count(byteOffset))",
      hint: "convert it, e.g. with `iconv -t UTF-8`")
  }

  /// More token ids than a prompt can have; how many there are is not known.
  init(tokensOf source: String, limit: Int) {
    self.init(
      what: "the prompt has more than \(Format.count(limit)) tokens, which is all the positions of the model",
      place: source, hint: "shorten it")
  }

  /// A file of token ids that is none.
  init(tokens source: String, detail: String, byteOffset: Int) {
    self.init(
      what: "the token ids cannot be read: \(detail)", place: "\(source), byte \(Format.count(byteOffset))",
      hint: "give ids between white space, or one JSON array")
  }
}
