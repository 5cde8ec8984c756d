//! From the words of a formula to its tree, by precedence climbing.
//!
//! # Design
//!
//! Nodes lie in one vector, and sums and products take any number of terms: only brackets, signs and exponents nest, and how deep
//! they may is bounded, so that no text overflows the stack. The parser is our own because every message stands under a character
//! and says what could have stood there.

use super::error::Mistake;
use super::lexer::{Token, tokens};

/// The place of a node in the tree.
pub(super) type Id = usize;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Number(f64),
    Name(String),
    /// `name[index]`.
    Index(String, Id),
    /// `row['name']`.
    Column(String, String),
    /// Terms, each with whether it is subtracted.
    Sum(Vec<(bool, Id)>),
    /// Factors, each with whether it divides.
    Product(Vec<(bool, Id)>),
    Minus(Id),
    Power(Id, Id),
    Call(String, Vec<Id>),
}

/// A formula as a tree; every node with the place of its first character.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub nodes: Vec<(Node, usize)>,
    pub root: Id,
}

/// How deep brackets, signs and exponents may nest.
const DEEPEST: usize = 100;

pub(super) fn parse(text: &str) -> Result<Tree, Mistake> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, nodes: Vec::new() };
    let root = parser.sum()?;
    match parser.peek() {
        (Token::End, _) => Ok(Tree { nodes: parser.nodes, root }),
        (found, at) => Mistake::new(at, format!("expected an operator or the end of the formula, found {found}")),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
    nodes: Vec<(Node, usize)>,
}

impl Parser {
    fn peek(&self) -> (Token, usize) {
        self.tokens[self.next].clone()
    }

    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    fn take(&mut self, symbol: char) -> bool {
        let is_there = self.tokens[self.next].0 == Token::Symbol(symbol);
        if is_there {
            self.advance();
        }
        is_there
    }

    fn expect(&mut self, symbol: char, or: &str) -> Result<(), Mistake> {
        if self.take(symbol) {
            return Ok(());
        }
        let (found, at) = self.peek();
        Mistake::new(at, format!("expected {or}`{symbol}`, found {found}"))
    }

    fn node(&mut self, node: Node, at: usize) -> Id {
        self.nodes.push((node, at));
        self.nodes.len() - 1
    }

    /// Operands of one precedence, each with whether the second of the two operators stands before it.
    fn chain(
        &mut self,
        operators: [char; 2],
        operand: fn(&mut Self) -> Result<Id, Mistake>,
        make: fn(Vec<(bool, Id)>) -> Node,
    ) -> Result<Id, Mistake> {
        let at = self.peek().1;
        let mut terms = vec![(false, operand(self)?)];
        loop {
            let second = if self.take(operators[0]) {
                false
            } else if self.take(operators[1]) {
                true
            } else {
                break;
            };
            terms.push((second, operand(self)?));
        }
        Ok(if terms.len() == 1 { terms[0].1 } else { self.node(make(terms), at) })
    }

    fn sum(&mut self) -> Result<Id, Mistake> {
        self.chain(['+', '-'], Self::product, Node::Sum)
    }

    fn product(&mut self) -> Result<Id, Mistake> {
        self.chain(['*', '/'], Self::signed, Node::Product)
    }

    /// A power with any number of signs before it: `-x^2` is `-(x^2)`.
    fn signed(&mut self) -> Result<Id, Mistake> {
        let (_, at) = self.peek();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Mistake::new(at, format!("more than {DEEPEST} brackets, signs or exponents inside one another"));
        }
        let found = if self.take('-') {
            let operand = self.signed()?;
            self.node(Node::Minus(operand), at)
        } else if self.take('+') {
            self.signed()?
        } else {
            let base = self.atom()?;
            if self.take('^') {
                let exponent = self.signed()?;
                self.node(Node::Power(base, exponent), at)
            } else {
                base
            }
        };
        self.depth -= 1;
        Ok(found)
    }

    fn atom(&mut self) -> Result<Id, Mistake> {
        let (token, at) = self.peek();
        match token {
            Token::Number(number) => {
                self.advance();
                Ok(self.node(Node::Number(number), at))
            }
            Token::Symbol('(') => {
                self.advance();
                let inner = self.sum()?;
                self.expect(')', "an operator or ")?;
                Ok(inner)
            }
            Token::Name(name) => {
                self.advance();
                if self.take('[') {
                    return self.index(name, at);
                }
                if !self.take('(') {
                    return Ok(self.node(Node::Name(name), at));
                }
                let mut arguments = Vec::new();
                if !self.take(')') {
                    loop {
                        arguments.push(self.sum()?);
                        if !self.take(',') {
                            break;
                        }
                    }
                    self.expect(')', "an operator, `,` or ")?;
                }
                Ok(self.node(Node::Call(name, arguments), at))
            }
            found => Mistake::new(at, format!("expected a number, a name or `(`, found {found}")),
        }
    }

    /// What follows `name[`.
    fn index(&mut self, name: String, at: usize) -> Result<Id, Mistake> {
        let node = if let (Token::Quoted(column), _) = self.peek() {
            self.advance();
            Node::Column(name, column)
        } else {
            Node::Index(name, self.sum()?)
        };
        self.expect(']', "")?;
        Ok(self.node(node, at))
    }
}
