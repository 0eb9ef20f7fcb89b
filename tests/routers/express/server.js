// A server with Express. It says which handler the router chose, and the path as a layer in front of it sees it.
// Usage: node server.js express4|express5 FILES
'use strict'

const express = require(process.argv[2])
const app = express()

const seen = request => request.originalUrl.split('?')[0]
const answer = handler => (request, response) => response.json({ handler, seen: seen(request) })
const rest = process.argv[2] === 'express4' ? '*' : '*rest'

app.use('/guarded', answer('guarded'))
app.all('/one', answer('one'))
app.get('/deep/er/:name', answer('deep'))
const router = express.Router()
router.get(`/${rest}`, answer('mounted'))
app.use('/mounted', router)
app.get(encodeURI(`/grüße/${rest}`), answer('greetings'))
app.get(encodeURI(`/with space/${rest}`), answer('space'))
app.get(`/open/${rest}`, answer('open'))
app.use('/files', express.static(process.argv[3]))
app.use(answer('other'))

const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit(0))
