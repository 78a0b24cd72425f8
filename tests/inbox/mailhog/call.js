// One call of the package's, from the command line: port, method, arguments as JSON. Prints what it came to as JSON.
const mailhog = require("mailhog");

const [port, method, parameters] = process.argv.slice(2);

// What the package reads out of a mail, it gives by getters that JSON does not see.
const read = (mail) => ({
  id: mail.ID, subject: mail.subject, from: mail.from, to: mail.to, text: mail.text, html: mail.html,
  delivered: mail.deliveryDate,
});
const seen = (result) => {
  if (result?.items) return {total: result.total, items: result.items.map(read)};
  if (result?.Raw) return read(result);
  return result?.statusCode ?? result;
};

mailhog({host: "127.0.0.1", port})[method](...JSON.parse(parameters)).then(
  (result) => console.log(JSON.stringify({result: seen(result)})),
  (error) => console.log(JSON.stringify({error: error.message})),
);
