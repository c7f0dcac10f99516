import JSON
import Models
import Storage
import Tokenizers

/// A tokenizer as metadata of a GGUF.
enum GGUFTokenizer {
  /// How llama.cpp calls the regular expression of LLaDA2's tokenizer.
  private static let preTokenizer = "bailingmoe2"
  private static let pattern =
    #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#
  private static let (normal, control, added, unused): (Int32, Int32, Int32, Int32) = (1, 3, 4, 5)

  /// Nothing where the pack has no tokenizer.
  static func metadata(_ source: ExportSource) throws(ExportError) -> GGUFFile.Metadata {
    let files = try source.tokenizerFiles()
    guard let json = files[.tokenizer] else { return [] }
    let listing: TokenizerListing
    do throws(TokenizerError) { listing = try TokenizerListing(tokenizerJSON: json, others: files) } catch {
      throw .tokenizer(error)
    }
    guard listing.pattern == pattern else {
      throw .refused(.preTokenizer(pattern: listing.pattern), format: GGUFFormat.name)
    }
    var (texts, kinds): ([String], [Int32]) = ([], [])
    // The embedding may have more rows than there are tokens; a reader wants a token for each.
    for id in 0..<max(listing.tokens.count, source.configuration.vocabularySize) {
      let token = id < listing.tokens.count ? listing.tokens[id] : nil
      texts.append(token?.text ?? "[PAD\(id)]")
      let kind =
        switch token?.kind {
        case .normal: normal
        case .control: control
        case .added: added
        case nil: unused
        }
      kinds.append(kind)
    }
    var metadata: GGUFFile.Metadata = [
      ("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string(preTokenizer)),
      ("tokenizer.ggml.tokens", .strings(texts)), ("tokenizer.ggml.token_type", .int32s(kinds)),
      ("tokenizer.ggml.merges", .strings(listing.merges)),
    ]
    // What a tokenizer calls the mask is a token like others where the next token is predicted.
    let predictsNext = source.configuration.conventions.prediction == .next
    for (key, id) in [
      ("bos", listing.beginID), ("eos", listing.endID), ("padding", listing.padID),
      ("mask", predictsNext ? nil : listing.maskID ?? source.configuration.maskTokenID),
    ] {
      if let id { metadata.append(("tokenizer.ggml.\(key)_token_id", .uint32(id))) }
    }
    metadata += [("tokenizer.ggml.add_bos_token", .bool(false)), ("tokenizer.ggml.add_eos_token", .bool(false))]
    if let template = ExportSource.chatTemplate(files) {
      metadata.append(("tokenizer.chat_template", .string(template)))
    }
    return metadata
  }
}
