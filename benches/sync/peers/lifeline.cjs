// Loaded before each server of others: it ends with the bench, and collects garbage when the bench asks for it.
'use strict'
const lines = require('node:readline').createInterface({ input: process.stdin })
lines.on('line', (line) => {
  if (line !== 'collect') return
  global.gc()
  console.log('collected')
})
lines.on('close', () => process.exit())
