using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Testing;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary>A backstore for commands that use one themselves: of bytes with its filters, or a SCSI disk that is passed through.</summary>
internal sealed class AnyBackstore
{
    private readonly UnitSpec _spec;

    private AnyBackstore(UnitSpec spec) => _spec = spec;

    /// <summary>Its kind.</summary>
    public string Kind => _spec.Kind;

    /// <summary>Reads a text as <c>lunkit serve</c> does. Throws <see cref="UserException"/>.</summary>
    public static AnyBackstore Parse(string text) =>
        new(PassThroughSpec.Matches(text) ? PassThroughSpec.Parse(text) : BackstoreSpec.Parse(text));

    /// <summary>Opens it. Throws <see cref="BackstoreException"/> or <see cref="UserException"/>.</summary>
    public async ValueTask<IBackstore> OpenAsync(bool readOnly, ILogger log) =>
        _spec is BackstoreSpec bytes ? bytes.OpenStore(readOnly, log) : await UnitBackstore.OpenAsync(((PassThroughSpec)_spec).Open(readOnly, log));
}
