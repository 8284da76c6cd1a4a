import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Points } from '../../src/session/points.js';

test('what was heard is shown, and heard once', () => {
  const points = new Points();
  assert.equal(`${points}`, '0.0');
  points.begin('3.70,x.1,9007199254740993.1');
  assert.equal(`${points}`, '3.70');
  assert.equal(points.isNew({ slot: 3, position: 70 }), false);
  assert.equal(points.isNew({ slot: 3, position: 72 }), true);
  assert.equal(points.isNew({ slot: 3, position: 71 }), false);
  assert.equal(points.isNew({ slot: 0, position: 1 }), true);
  // A later greeting takes nothing back.
  points.begin('3.1');
  assert.equal(`${points}`, '3.72,0.1');
});
