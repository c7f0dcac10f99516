import Conversion
import JSON
import Models
import Patterns
import Pack
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct RecipeTests {
  private func parse(_ json: String) throws(RecipeError) -> Recipe { try Recipe(json: Array(json.utf8)) }

  private func refusal(_ json: String) -> RecipeError? {
    do throws(RecipeError) {
      _ = try parse(json)
      return nil
    } catch { return error }
  }

  private func refusal(
    experts: String = "keep", rest: String = "keep", _ rules: [Recipe.Rule], _ tiny: TinyCheckpoint = TinyCheckpoint()
  ) throws -> RecipeError {
    let error = try ConversionTests.refusal(tiny, ConversionPlan.Options(experts: experts, rest: rest, rules))
    guard case .recipe(let reason) = error else { throw error }
    return reason
  }

  private func plan(_ options: ConversionPlan.Options) throws -> ConversionPlan {
    try withTemporaryDirectory { directory in
      try TinyCheckpoint().write(to: directory)
      return try ConversionPlan(checkpoint: directory, options: options)
    }
  }

  /// What is decided for one tensor, and why.
  private func decision(_ plan: ConversionPlan, _ name: String) throws -> RecipeMatcher.Decision {
    let index = try #require(plan.pack.tensors.firstIndex { $0.name == name })
    #expect(plan.pack.tensors[index].encoding == plan.decisions[index].encoding)
    return plan.decisions[index]
  }

  @Test func aFileIsReadAsTheFormatShowsIt() throws {
    let recipe = try parse(
      #"""
      {
        "experts": "int4-g64", "rest": "keep",
        "overrides": [
          { "match": "layers\\.(1|2)\\.mlp\\.experts\\.", "encoding": "INT8-g64" },
          { "match": "lm_head", "encoding": "w8a16", "optional": true }
        ]
      }
      """#)
    #expect(recipe.experts.description == "int4-g64" && recipe.rest == .keep)
    #expect(recipe.overrides.map(\.choice.description) == ["int8-g64", "int8-g128"])
    #expect(recipe.overrides.map(\.isOptional) == [false, true])
    #expect(recipe.overrides[0].match == #"layers\.(1|2)\.mlp\.experts\."#)
    #expect(try Recipe(json: Array(recipe.json.text().utf8)) == recipe, "a recipe reads back as itself")
    #expect(try parse("{}") == Recipe())
  }

  @Test(
    "a file that says something else is refused where it says so",
    arguments: [
      ("[]", 0), ("", 0), (#"{"expert":"keep"}"#, 1), (#"{"experts":4}"#, 1), (#"{"rest":null}"#, 1),
      (#"{"overrides":{}}"#, 1), (#"{"rest":"keep","overrides":[1]}"#, 15), (#"{"overrides":[{}]}"#, 1),
      (#"{"overrides":[{"match":"a"}]}"#, 1), (#"{"overrides":[{"match":1,"encoding":"keep"}]}"#, 1),
      (#"{"overrides":[{"match":"a","encoding":1}]}"#, 27),
      (#"{"overrides":[{"match":"a","encoding":"keep","optional":"yes"}]}"#, 45),
      (#"{"overrides":[{"match":"a","encoding":"keep","solver":"x"}]}"#, 45), (#"{"rest":"keep","rest":"keep"}"#, 15),
      (#"{"overrides":[{"match":"a","encoding":"int4-g64","solver":"best"}]}"#, 49),
    ])
  func malformed(json: String, byteOffset: Int) {
    guard case .file(let detail, byteOffset)? = refusal(json) else {
      return #expect(Bool(false), "\(String(describing: refusal(json)))")
    }
    #expect(!detail.isEmpty)
  }

  @Test("an encoding that does not exist is refused", arguments: ["int4", "int4-g48", "int3-g64", "", "q4_1", "fp8"])
  func unknownEncoding(name: String) {
    #expect(refusal(#"{"experts":"\#(name)"}"#) == .unknownEncoding(name, byteOffset: 1))
    let rule = #"{"overrides":[{"match":"a","encoding":"\#(name)"}]}"#
    #expect(refusal(rule) == .unknownEncoding(name, byteOffset: 27))
    #expect(throws: RecipeError.unknownEncoding(name)) { _ = try Recipe.rule(parsing: "a=\(name)") }
  }

  @Test func aRuleOnTheCommandLineEndsAtItsLastEqualsSign() throws {
    let rule = try Recipe.rule(parsing: "a(?=b)=keep")
    #expect(rule == Recipe.Rule(match: "a(?=b)", choice: .keep))
    for text in ["keep", "=keep", ""] {
      #expect(throws: RecipeError.self) { _ = try Recipe.rule(parsing: text) }
    }
  }

  @Test func aRuleMayNameItsSolver() throws {
    let text = #"{"overrides":[{"match":"up_proj","encoding":"int4-g32","solver":"absmax"}]}"#
    let recipe = try Recipe(json: Array(text.utf8))
    #expect(recipe.overrides[0].solver == "absmax")
    #expect(try Recipe(json: Array(recipe.json.text().utf8)) == recipe, "a recipe reads back as itself")
    var options = try ConversionPlan.Options(experts: "int4-g32")
    options.recipe.overrides = recipe.overrides
    let plan = try plan(options)
    for (tensor, solver) in zip(plan.pack.tensors, plan.solvers) where tensor.encoding.isGrouped {
      #expect(solver.name == (tensor.name.contains("up_proj") ? "absmax" : "search"), "\(tensor.name)")
    }
  }

  @Test func theLastRuleThatMatchesDecides() throws {
    let rules = try [
      #"experts\.1\.=int8-g32"#, #"experts\.(1|2)\.up=keep"#, #"up_proj\.weight$=int8-g64"#, "lm_head=int4-g64",
    ].map(Recipe.rule(parsing:))
    let plan = try plan(ConversionPlan.Options(rules))
    let prefix = "model.layers.1.mlp.experts."
    let expected: [(String, String, String)] = [
      (prefix + "0.gate_proj.weight", "int4-g32", "default `experts`"),
      (prefix + "1.gate_proj.weight", "int8-g32", #"override 1 `experts\.1\.`"#),
      (prefix + "1.up_proj.weight", "int8-g64", #"override 3 `up_proj\.weight$`"#),
      ("model.layers.0.mlp.up_proj.weight", "int8-g64", #"override 3 `up_proj\.weight$`"#),
      ("lm_head.weight", "int4-g64", "override 4 `lm_head`"),
      ("model.word_embeddings.weight", "bf16", "default `rest`"),
    ]
    for (name, encoding, reason) in expected {
      let decision = try decision(plan, name)
      #expect(decision.encoding.description == encoding && decision.decidedBy == reason)
    }
  }

  @Test func whatIsProtectedIsKeptWhateverTheRulesSay() throws {
    let plan = try plan(
      ConversionPlan.Options(
        experts: "int4-g32", rest: "int8-g32",
        [
          .init(match: "", choice: .encode(TinyPack.encoding("int4-g32")))
        ]))
    for (name, encoding, reason) in [
      ("model.layers.1.mlp.gate.weight", "bf16", "protected: router"),
      ("model.layers.1.mlp.gate.expert_bias", "f32", "protected: router"),
      ("model.norm.weight", "bf16", "protected: norm"),
      ("model.layers.0.attention.key_layernorm.weight", "bf16", "protected: norm"),
    ] {
      let decision = try decision(plan, name)
      #expect(decision.encoding.description == encoding && decision.decidedBy == reason)
    }
    let protected = plan.model.architecture.protectedRoles
    #expect(
      try zip(plan.pack.tensors, plan.sources).allSatisfy {
        $0.encoding.isGrouped != protected.contains(try #require($1.role))
      })
  }

  @Test func aRuleThatMatchesNothingIsAnErrorUnlessOptional() throws {
    let typo = Recipe.Rule(match: "lm_heat", choice: .keep)
    #expect(try refusal([typo]) == .matchesNothing(pattern: "lm_heat", number: 1, protectedMatches: 0))
    let router = Recipe.Rule(match: #"mlp\.gate\."#, choice: .keep)
    let good = Recipe.Rule(match: "lm_head", choice: .keep)
    #expect(try refusal([good, router]) == .matchesNothing(pattern: router.match, number: 2, protectedMatches: 2))
    _ = try plan(ConversionPlan.Options([.init(match: "lm_heat", choice: .keep, isOptional: true)]))
  }

  @Test func aRuleThatALaterOneOverridesIsNoError() throws {
    _ = try plan(ConversionPlan.Options([.init(match: "lm_head", choice: .keep), .init(match: "head", choice: .keep)]))
  }

  @Test func aGroupSizeThatDoesNotDivideIsRefused() throws {
    let int4 = TinyPack.encoding("int4-g64")
    let down = "model.layers.1.mlp.experts.0.down_proj.weight"
    let error = RecipeError.groupSize(tensor: down, columns: 32, encoding: int4, decidedBy: "default `experts`")
    #expect(try refusal(experts: "int4-g64", []) == error)
    _ = try plan(ConversionPlan.Options(experts: "int4-g64", [.init(match: "experts.*down", choice: .keep)]))
  }

  @Test func aPlainEncodingIsNeverConvertedIntoAnother() throws {
    let embedding = "model.word_embeddings.weight"
    let error = RecipeError.converts(tensor: embedding, from: .bf16, to: .f16, decidedBy: "default `rest`")
    #expect(try refusal(rest: "f16", []) == error)
    let plan = try plan(ConversionPlan.Options(experts: "bf16", rest: "BF16"))
    #expect(plan.pack.tensors.allSatisfy { $0.encoding == $0.sourceEncoding })
  }

  @Test("a pattern that does not compile is refused", arguments: ["(", "[a", "*", "a{2,1}", #"\p{Nonsense}"#, "(?<"])
  func badPattern(pattern: String) throws {
    let good = Recipe.Rule(match: "lm_head", choice: .keep)
    guard case .pattern(pattern, let error, 2) = try refusal([good, .init(match: pattern, choice: .keep)]) else {
      return #expect(Bool(false))
    }
    #expect(!error.reason.isEmpty)
  }

  @Test func anchorsHoldAtTheEndsOfTheName() throws {
    let rules = ["^model.norm", "norm.weight$", "^lm_head.weight$"].map {
      Recipe.Rule(match: $0, choice: .keep, isOptional: true)
    }
    let plan = try plan(ConversionPlan.Options(rules))
    #expect(try decision(plan, "lm_head.weight").decidedBy == "override 3 `^lm_head.weight$`")
    let nothing = try refusal([.init(match: "^head", choice: .keep)])
    #expect(nothing == .matchesNothing(pattern: "^head", number: 1, protectedMatches: 0))
  }
}
