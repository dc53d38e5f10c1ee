using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Testing;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary>A backstore for commands that use one themselves: of bytes with its filters, or a SCSI disk that is passed through.</summary>
internal sealed class AnyBackstore
{
    private readonly BackstoreSpec? _bytes;
    private readonly PassThroughSpec? _device;

    private AnyBackstore(BackstoreSpec? bytes, PassThroughSpec? device) => (_bytes, _device) = (bytes, device);

    /// <summary>Its kind.</summary>
    public string Kind => _bytes?.Kind ?? PassThroughSpec.Kind;

    /// <summary>Reads a text as <c>lunkit serve</c> does. Throws <see cref="UserException"/>.</summary>
    public static AnyBackstore Parse(string text) =>
        PassThroughSpec.Matches(text) ? new(null, PassThroughSpec.Parse(text)) : new(BackstoreSpec.Parse(text), null);

    /// <summary>Opens it. Throws <see cref="BackstoreException"/> or <see cref="UserException"/>.</summary>
    public async ValueTask<IBackstore> OpenAsync(bool readOnly, ILogger log) =>
        _bytes is not null ? _bytes.OpenStore(readOnly, log) : await UnitBackstore.OpenAsync(_device!.Open(readOnly, log));
}
